//! Messages between processes: see [`camrig_ipc::protocol`].

pub(crate) use camrig_ipc::protocol::{
    ActorCommand, ActorEvent, ActorPart, DeviceAnswer, DeviceCall, DeviceRequest, Part, Setup, WorkerCommand,
};
