use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const WINDOW: CreditWindow = CreditWindow { framesets: 4, bytes: 1000 };

/// Size of every frameset of the model, so that three fit into the window of bytes.
const BYTES: u64 = 300;

#[derive(Clone, Copy, Debug)]
enum Message {
    Data(FrameSetNumber),
    Question(FrameSetNumber),
}

/// Both ends with the network between them. A frameset has an identity beside its number.
struct Model {
    epochs: u64,
    /// Delivered to the sender in this epoch, and the identity of number 0.
    delivered: u64,
    first_identity: u64,
    sender: Sender,
    receiver: Receiver,
    instances: u64,
    there: VecDeque<(Message, u64)>,
    back: VecDeque<Ack>,
    published: BTreeSet<u64>,
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Send,
    /// Delivered to a sender that dies with it.
    DiesWithFrameset,
    SenderDies,
    /// The rig of the sender begins again, when nothing is known to be in flight.
    SenderRigBegins,
    ReceiverDies,
    /// If a message arrives, only the losses before it are counted.
    ReceiverDiesBeforePublishing,
    Arrive,
    Double,
    /// The first message arrives after the next ones.
    Delay,
    Answer,
    AnswerArrives,
    /// The first answer arrives after the next ones.
    AnswerDelay,
    AnswerDouble,
    Question,
    Cut,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    use Event::*;
    let event = prop_oneof![
        12 => Just(Send),
        1 => Just(DiesWithFrameset),
        1 => Just(SenderDies),
        1 => Just(ReceiverDies),
        1 => Just(ReceiverDiesBeforePublishing),
        12 => Just(Arrive),
        1 => Just(Double),
        1 => Just(Delay),
        8 => Just(Answer),
        8 => Just(AnswerArrives),
        1 => Just(AnswerDelay),
        1 => Just(AnswerDouble),
        2 => Just(Question),
        1 => Just(Cut),
        1 => Just(SenderRigBegins),
    ];
    prop::collection::vec(event, 1..400)
}

impl Model {
    fn new() -> Self {
        Self {
            epochs: 1,
            delivered: 0,
            first_identity: 0,
            sender: Sender::new(1),
            receiver: Receiver::new(1, 0, WINDOW),
            instances: 1,
            there: VecDeque::new(),
            back: VecDeque::new(),
            published: BTreeSet::new(),
            lost: 0,
        }
    }

    fn accounted(&self) -> u64 {
        self.published.len() as u64 + self.lost
    }

    fn identity(&self) -> u64 {
        self.first_identity + self.delivered
    }

    /// Only the ends know the base of an epoch after the first; if both die without an answer between, it is lost.
    fn base_is_known_to_sender(&self) -> bool {
        self.epochs == 1 || self.sender.place(0).base.is_some()
    }

    fn base_is_known_to_receiver(&self) -> bool {
        self.epochs == 1 || self.receiver.ack().epoch == self.epochs
    }

    fn restart_receiver(&mut self) {
        self.instances += 1;
        self.receiver = Receiver::new(self.instances, self.accounted(), WINDOW);
        // Messages in flight went to the instance that died.
        self.there.clear();
    }

    fn restart_sender(&mut self) {
        self.sender = Sender::new(self.epochs);
        if self.epochs > 1 {
            self.lost += self.receiver.probed(self.sender.place(0));
            self.sender.acked(self.receiver.ack());
        }
    }

    fn arrive(&mut self, dies: bool) {
        let Some((message, identity)) = self.there.pop_front() else { return };
        match message {
            Message::Data(place) => {
                if let Arrival::Next { lost } = self.receiver.arrived(place) {
                    self.lost += lost;
                    if dies {
                        return self.restart_receiver();
                    }
                    assert!(self.published.insert(identity), "published twice");
                }
            }
            Message::Question(place) => self.lost += self.receiver.probed(place),
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Send if self.sender.may_send(BYTES) => {
                self.delivered += 1;
                let place = self.sender.place(self.delivered);
                self.there.push_back((Message::Data(place), self.identity()));
                self.sender.sent(self.delivered, BYTES);
            }
            Event::Send => {}
            Event::DiesWithFrameset | Event::SenderDies if !self.base_is_known_to_receiver() => {}
            Event::DiesWithFrameset => {
                self.delivered += 1;
                self.restart_sender();
            }
            Event::SenderDies => self.restart_sender(),
            Event::SenderRigBegins => {
                // The receiver knows the last number of the epoch, as after the end of a rig.
                self.there.clear();
                let place = self.sender.place(self.delivered);
                self.lost += self.receiver.probed(place);
                if self.delivered > 0 {
                    self.first_identity = self.identity();
                    (self.delivered, self.epochs) = (0, self.epochs + 1);
                    self.restart_sender();
                }
            }
            Event::ReceiverDies | Event::ReceiverDiesBeforePublishing if !self.base_is_known_to_sender() => {}
            Event::ReceiverDies => self.restart_receiver(),
            Event::ReceiverDiesBeforePublishing => self.arrive(true),
            Event::Arrive => self.arrive(false),
            Event::Double => {
                let first = self.there.front().copied();
                self.there.extend(first);
            }
            Event::Delay => {
                let first = self.there.pop_front();
                self.there.extend(first);
            }
            Event::Answer => self.back.push_back(self.receiver.ack()),
            Event::AnswerArrives => {
                let ack = self.back.pop_front();
                let _ = ack.is_some_and(|ack| self.sender.acked(ack));
            }
            Event::AnswerDelay => {
                let first = self.back.pop_front();
                self.back.extend(first);
            }
            Event::AnswerDouble => {
                let first = self.back.front().copied();
                self.back.extend(first);
            }
            Event::Question => {
                let question = self.sender.probe().map(|place| (Message::Question(place), 0));
                self.there.extend(question);
            }
            Event::Cut => {
                self.there.clear();
                self.back.clear();
            }
        }
    }

    /// Everything arrives, and the sender asks until nothing is in flight.
    fn settle(&mut self) {
        for event in [Event::Answer, Event::AnswerArrives, Event::Question] {
            self.apply(event);
        }
        while !self.there.is_empty() {
            self.arrive(false);
        }
        self.back.clear();
        self.apply(Event::Answer);
        self.apply(Event::AnswerArrives);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn each_frameset_is_published_or_lost_once(events in events()) {
        let mut model = Model::new();
        for event in events {
            model.apply(event);
            prop_assert!(model.accounted() <= model.identity(), "{event:?}: more than there are");
            prop_assert!(model.sender.in_flight() <= WINDOW.framesets as usize);
            prop_assert!(model.sender.pending_bytes <= WINDOW.bytes);
        }
        model.settle();
        prop_assert!(model.sender.may_send(BYTES), "the sender has no credit in the end: {:?}", model.sender);
        let end = model.sender.place(model.delivered);
        model.lost += model.receiver.probed(end);
        prop_assert_eq!(model.accounted(), model.identity());
    }
}

#[test]
fn without_a_receiver_nothing_is_sent() {
    let mut sender = Sender::new(9);
    assert!(!sender.may_send(0) && !sender.is_acked(0) && sender.probe().is_none());
    let receiver = Receiver::new(1, 0, CreditWindow { framesets: 0, ..WINDOW });
    assert!(sender.acked(receiver.ack()) && !sender.may_send(1), "the receiver takes nothing");
    let receiver = Receiver::new(1, 0, WINDOW);
    assert!(!sender.acked(receiver.ack()) && sender.may_send(5000), "a large frameset crosses alone");
    sender.sent(1, 5000);
    assert!(!sender.may_send(1));
    assert_eq!(sender.probe(), Some(FrameSetNumber { epoch: 9, base: None, number: 1 }));
}

#[test]
fn a_gap_is_lost_and_late_framesets_are_ignored() {
    let mut receiver = Receiver::new(1, 0, WINDOW);
    let place = |number| FrameSetNumber { epoch: 9, base: None, number };
    assert_eq!(receiver.arrived(place(1)), Arrival::Next { lost: 0 });
    assert_eq!(receiver.arrived(place(4)), Arrival::Next { lost: 2 });
    for late in [1, 2, 3, 4] {
        assert_eq!(receiver.arrived(place(late)), Arrival::Late);
    }
    assert_eq!((receiver.probed(place(6)), receiver.probed(place(6)), receiver.probed(place(2))), (2, 0, 0));
    assert_eq!(receiver.ack().number, 6);
    // Another epoch starts with 1, and messages of the previous one are late.
    let other = |number| FrameSetNumber { epoch: 10, base: None, number };
    assert_eq!(receiver.arrived(other(2)), Arrival::Next { lost: 1 });
    assert_eq!(receiver.arrived(place(7)), Arrival::Late);
    assert_eq!((receiver.ack().base, receiver.ack().number), (6, 2));
}

#[test]
fn an_instance_continues_where_the_one_before_has_died() {
    let place = |base, number| FrameSetNumber { epoch: 9, base, number };
    // Of the first epoch; of a later one whose start the sender knows; of an unknown one.
    for (base, number, lost) in [(None, 13, 2), (Some(6), 7, 2), (None, 3, 0)] {
        let mut receiver = Receiver::new(2, 10, WINDOW);
        assert_eq!(receiver.arrived(place(base, number)), Arrival::Next { lost }, "{base:?} {number}");
    }
}

#[test]
fn impossible_numbers_change_nothing() {
    let mut receiver = Receiver::new(1, 3, WINDOW);
    let before = receiver.ack();
    for (epoch, number) in [(0, 5), (9, u64::MAX)] {
        assert_eq!(receiver.probed(FrameSetNumber { epoch, base: None, number }), 0);
    }
    assert_eq!(receiver.arrived(FrameSetNumber { epoch: 9, base: None, number: 0 }), Arrival::Late);
    assert_eq!(receiver.ack(), before);
}
