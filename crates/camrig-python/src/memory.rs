//! Memory of frames for Python: the buffer protocol and DLPack.
//!
//! Memory that it lends to Python stays valid and in place as long as any array refers to it: each export holds the `Memory`
//! object, which holds the frameset, which holds its slot.

#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use camrig::frame::{DType, Payload};
use camrig::{FrameSet, HeldFrames, Loan};
use camrig_record::RecordedFrameSet;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors;
use crate::kept::Kept;

/// Maximum number of dimensions of an array: those of a tensor.
const MAX_DIMENSIONS: usize = camrig::frame::MAX_DIMENSIONS;

/// The first major version of DLPack with read-only tensors.
const DLPACK_MAJOR: u32 = 1;

/// The name of a capsule with a tensor that was not consumed.
const DLPACK_NAME: &std::ffi::CStr = c"dltensor_versioned";

/// DLPack's number of the CPU.
const DL_CPU: i32 = 1;

/// DLPack's flag of a read-only tensor.
const DL_READ_ONLY: u64 = 1;

/// Memory that stays in place while this value exists.
pub(crate) enum HeldMemory {
    /// A frame of a frameset of a rig, by its index.
    Live { frames: FrameSet, index: usize, _kept: Option<Arc<Kept>> },
    /// A frame of a frameset of a recording, by its index. It is decoded when its memory is requested.
    Recorded { frames: Arc<RecordedFrameSet>, index: usize },
    /// A frame of a slot that is being written. The loan is kept here until nothing refers to it.
    Lent(LentFrame),
}

/// A frame of a loan, which may be written.
pub(crate) struct LentFrame {
    /// Keeps the slot.
    _loan: Arc<SharedLoan>,
    bytes: *mut u8,
    length: usize,
}

// SAFETY: the slot is memory that is shared between processes anyway; `SharedLoan` keeps it lent, and Python code
// reads and writes it only as it would any other array.
unsafe impl Send for LentFrame {}
// SAFETY: as above; no method of `LentFrame` makes a reference to the bytes.
unsafe impl Sync for LentFrame {}

/// A loan that arrays of Python may refer to.
pub(crate) struct SharedLoan {
    loan: Mutex<Loan>,
}

impl SharedLoan {
    pub(crate) fn new(loan: Loan) -> Arc<Self> {
        Arc::new(Self { loan: Mutex::new(loan) })
    }

    fn lock(&self) -> MutexGuard<'_, Loan> {
        self.loan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the frame at `index` as memory to be written.
    pub(crate) fn frame(self: &Arc<Self>, index: usize) -> HeldMemory {
        let mut loan = self.lock();
        let frame = loan.frame_mut(index);
        let (bytes, length) = (frame.as_mut_ptr(), frame.len());
        drop(loan);
        HeldMemory::Lent(LentFrame { _loan: Arc::clone(self), bytes, length })
    }

    /// Returns the loan, if no array refers to it any more.
    pub(crate) fn into_loan(self: Arc<Self>) -> Result<Loan, Arc<Self>> {
        let shared = Arc::try_unwrap(self)?;
        Ok(shared.loan.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A lent value, and the thread that lent it.
type Lent<T> = (ptr::NonNull<T>, ThreadId);

/// A pointer that a closure carries which has to be `Send` although it stays on its thread.
struct OnThread<T>(ptr::NonNull<T>);

// SAFETY: only `Lending::with` makes it, for `Python::detach`, which calls the closure on the thread that calls it.
unsafe impl<T> Send for OnThread<T> {}

impl<T> OnThread<T> {
    /// Returns the pointer. As a method, so that a closure captures the whole value.
    fn pointer(&self) -> ptr::NonNull<T> {
        self.0
    }
}

/// A value that is lent to Python code during one call, and only to its thread.
pub(crate) struct Lending<T>(Mutex<Option<Lent<T>>>);

// SAFETY: the pointer is followed only on the thread that lent it (`Lending::with` compares the threads), so `T` never
// crosses threads; the pointer itself is guarded by the mutex.
unsafe impl<T> Send for Lending<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Lending<T> {}

/// Clears the lent value when it is dropped, also by a panic.
struct Then<'a, T>(&'a Lending<T>, Option<Lent<T>>);

impl<T> Drop for Then<'_, T> {
    fn drop(&mut self) {
        *self.0.lock() = self.1;
    }
}

impl<T> Lending<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Lent<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends a value during `call`.
    pub(crate) fn lend<R>(&self, value: &mut T, call: impl FnOnce() -> R) -> R {
        *self.lock() = Some((ptr::NonNull::from(value), thread::current().id()));
        let _nothing = Then(self, None);
        call()
    }

    /// Uses the value that is lent to this thread, without the interpreter: an output may wait for readers, which may be scripts
    /// of this process.
    ///
    /// # Errors
    /// Outside of a call, and on another thread.
    pub(crate) fn with<R: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut T) -> PyResult<R> + Send,
    ) -> PyResult<R> {
        let mine = |(_, lender): &mut Lent<T>| *lender == thread::current().id();
        // Taken out: a call within `act` finds nothing, so there is no second reference.
        let taken = self.lock().take_if(mine);
        let Some((value, _)) = taken else {
            return Err(errors::CamrigError::new_err(
                "an outlet works only during the call that it was given to, and on its thread",
            ));
        };
        let _back = Then(self, taken);
        let value = OnThread(value);
        // SAFETY: `lend` has the value borrowed until it clears the pointer, which it does on this thread, after this
        // call; the pointer was taken out, so this is the only reference.
        py.detach(move || act(unsafe { value.pointer().as_mut() }))
    }
}

impl HeldMemory {
    /// Returns the bytes of memory that is not written.
    ///
    /// # Errors
    /// If the frame of a recording is damaged.
    pub(crate) fn bytes(&self, py: Python<'_>) -> PyResult<&[u8]> {
        match self {
            Self::Live { frames, index, .. } => Ok(frames.pixels(*index)),
            Self::Recorded { frames, index } => {
                let decoded = py.detach(|| frames.decode(*index)).map_err(|fault| {
                    let (camera, sequence) = (&frames.info().name, frames.header().sequence);
                    errors::error(format_args!(
                        "frameset {sequence} of camera `{camera}` is damaged: {fault}"
                    ))
                })?;
                Ok(decoded)
            }
            Self::Lent(_) => Ok(&[]),
        }
    }

    fn place(&self, py: Python<'_>) -> PyResult<*mut u8> {
        match self {
            Self::Lent(lent) => Ok(lent.bytes),
            _ => Ok(self.bytes(py)?.as_ptr().cast_mut()),
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Live { frames, index, .. } => frames.pixels(*index).len(),
            Self::Recorded { frames, index } => frames.header().frames[*index].size_bytes() as usize,
            Self::Lent(lent) => lent.length,
        }
    }

    fn is_writable(&self) -> bool {
        matches!(self, Self::Lent(_))
    }
}

/// The elements of an array, as NumPy interprets the bytes.
#[derive(Clone, Debug)]
pub(crate) struct ArrayLayout {
    /// As in the module `struct`; such as `H`, or `T{...}` for elements with fields.
    format: CString,
    /// `None` for elements with fields.
    pub(crate) dtype: Option<DType>,
    item_bytes: usize,
    pub(crate) shape: Vec<usize>,
    /// In bytes.
    strides: Vec<usize>,
}

impl ArrayLayout {
    /// Returns the layout of a frame's content.
    pub(crate) fn of(payload: &Payload) -> Self {
        match *payload {
            Payload::Image { format, width, height, stride_bytes } => {
                let (dtype, channels) = (format.element(), format.channels() as usize);
                let item = dtype.size_bytes() as usize;
                let mut layout = Self::dense(dtype, &[height as usize, width as usize, channels]);
                layout.strides = vec![stride_bytes as usize, item * channels, item];
                if channels == 1 {
                    layout.shape.pop();
                    layout.strides.pop();
                }
                layout
            }
            Payload::Points { width, height } => Self::fields(
                c"T{<f:x:<f:y:<f:z:B:r:B:g:B:b:B:known:}",
                16,
                &[height as usize, width as usize],
            ),
            Payload::Motion { samples } => {
                Self::fields(c"T{<Q:nanos:<f:x:<f:y:<f:z:}", 20, &[samples as usize])
            }
            Payload::Tensor { dtype, shape } => {
                let lengths: Vec<_> = shape.lengths().iter().map(|&length| length as usize).collect();
                Self::dense(dtype, &lengths)
            }
            Payload::Encoded { size_bytes, .. } | Payload::Message { size_bytes, .. } => {
                Self::dense(DType::U8, &[size_bytes as usize])
            }
        }
    }

    fn dense(dtype: DType, shape: &[usize]) -> Self {
        let item_bytes = dtype.size_bytes() as usize;
        let format = CString::from(code(dtype));
        Self {
            format,
            dtype: Some(dtype),
            item_bytes,
            shape: shape.to_vec(),
            strides: dense(shape, item_bytes),
        }
    }

    fn fields(format: &std::ffi::CStr, item_bytes: usize, shape: &[usize]) -> Self {
        let strides = dense(shape, item_bytes);
        Self { format: format.to_owned(), dtype: None, item_bytes, shape: shape.to_vec(), strides }
    }

    fn is_dense(&self) -> bool {
        self.strides == dense(&self.shape, self.item_bytes)
    }

    /// Returns the number of bytes that its elements span.
    fn span_bytes(&self) -> usize {
        if self.shape.contains(&0) {
            return 0;
        }
        let last = self.shape.iter().zip(&self.strides).map(|(length, stride)| (length - 1) * stride);
        last.sum::<usize>() + self.item_bytes
    }
}

/// Returns the strides of a dense array.
fn dense(shape: &[usize], item_bytes: usize) -> Vec<usize> {
    let mut strides = vec![item_bytes; shape.len()];
    for index in (1..shape.len()).rev() {
        strides[index - 1] = strides[index] * shape[index];
    }
    strides
}

/// Returns the letter of a type in the module `struct`.
fn code(dtype: DType) -> &'static std::ffi::CStr {
    match dtype {
        DType::U8 => c"B",
        DType::U16 => c"<H",
        DType::U32 => c"<I",
        DType::U64 => c"<Q",
        DType::I8 => c"b",
        DType::I16 => c"<h",
        DType::I32 => c"<i",
        DType::I64 => c"<q",
        DType::F16 => c"<e",
        DType::F32 => c"<f",
        DType::F64 => c"<d",
    }
}

/// Memory that arrays may view without a copy.
#[pyclass(subclass, frozen, module = "camrig")]
pub(crate) struct Memory {
    pub(crate) content: HeldMemory,
    pub(crate) layout: ArrayLayout,
    /// The shape and the strides as the buffer protocol passes them: they are read while an export exists.
    sizes: [Vec<ffi::Py_ssize_t>; 2],
    /// Exports that exist.
    exports: AtomicUsize,
}

impl Memory {
    /// Makes memory of this content.
    ///
    /// # Errors
    /// If the content has fewer bytes than its layout needs.
    pub(crate) fn new(content: HeldMemory, payload: &Payload) -> PyResult<Self> {
        let layout = ArrayLayout::of(payload);
        let found = content.size_bytes();
        if found < layout.span_bytes() || layout.shape.len() > MAX_DIMENSIONS {
            let expected = layout.span_bytes();
            return Err(errors::CamrigError::new_err(format!("a frame has {found} bytes, not {expected}")));
        }
        let signed = |sizes: &[usize]| sizes.iter().map(|&size| size as ffi::Py_ssize_t).collect();
        let sizes = [signed(&layout.shape), signed(&layout.strides)];
        Ok(Self { content, layout, sizes, exports: AtomicUsize::new(0) })
    }
}

#[pymethods]
impl Memory {
    /// Number of arrays that view this memory now.
    #[getter]
    fn exports(&self) -> usize {
        self.exports.load(Ordering::Acquire)
    }

    /// Fills `view` as the buffer protocol requires.
    ///
    /// # Safety
    /// Called by the interpreter, with a valid `view`.
    unsafe fn __getbuffer__(slf: PyRef<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view"));
        }
        let writable = slf.content.is_writable();
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE && !writable {
            // SAFETY: the interpreter passes a view to be filled; `obj` is null after an error.
            unsafe { (*view).obj = ptr::null_mut() };
            return Err(PyBufferError::new_err(
                "frames are read-only: they are shared with other processors; use `frame.copy()`",
            ));
        }
        let wants = |flag: c_int| flags & flag == flag;
        if !wants(ffi::PyBUF_STRIDES) && !slf.layout.is_dense() {
            // SAFETY: as above.
            unsafe { (*view).obj = ptr::null_mut() };
            return Err(PyBufferError::new_err("the rows of this frame are padded: strides are needed"));
        }
        let place = match slf.content.place(slf.py()) {
            Ok(place) => place,
            Err(error) => {
                // SAFETY: as above.
                unsafe { (*view).obj = ptr::null_mut() };
                return Err(error);
            }
        };
        let elements: usize = slf.layout.shape.iter().product();
        let [shape, strides] = &slf.sizes;
        // SAFETY: `view` is valid (above). The memory that it points to is in `slf`, which does not move and is not changed after
        // `Memory::new`, and which the reference in `obj` keeps until the interpreter releases the view. The interpreter
        // does not write through `format`, `shape` and `strides`, nor through `buf` of a read-only view.
        unsafe {
            (*view).buf = place.cast::<c_void>();
            (*view).len = (elements * slf.layout.item_bytes) as ffi::Py_ssize_t;
            (*view).readonly = c_int::from(!writable);
            (*view).itemsize = slf.layout.item_bytes as ffi::Py_ssize_t;
            (*view).format = if wants(ffi::PyBUF_FORMAT) {
                slf.layout.format.as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            };
            (*view).ndim = shape.len() as c_int;
            (*view).shape = if wants(ffi::PyBUF_ND) { shape.as_ptr().cast_mut() } else { ptr::null_mut() };
            (*view).strides =
                if wants(ffi::PyBUF_STRIDES) { strides.as_ptr().cast_mut() } else { ptr::null_mut() };
            (*view).suboffsets = ptr::null_mut();
            (*view).internal = ptr::null_mut();
        }
        slf.exports.fetch_add(1, Ordering::AcqRel);
        let py = slf.py();
        // SAFETY: as above; the view owns this reference.
        unsafe { (*view).obj = slf.into_pyobject(py)?.into_any().into_ptr() };
        Ok(())
    }

    /// Ends an export.
    ///
    /// # Safety
    /// Called by the interpreter, once for each export.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.exports.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns DLPack's type and number of the device: the CPU.
    #[staticmethod]
    fn __dlpack_device__() -> (i32, i32) {
        (DL_CPU, 0)
    }

    /// Returns a DLPack capsule, read-only and versioned, without a copy.
    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
        slf: &Bound<'py, Self>,
        stream: Option<Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        drop(stream);
        if dl_device.is_some_and(|device| device != (DL_CPU, 0)) {
            return Err(PyBufferError::new_err("frames are in memory of the CPU"));
        }
        if copy == Some(true) {
            let array = slf.call_method0("copy")?;
            let version = PyDict::new(py);
            version.set_item("max_version", max_version)?;
            return array.call_method("__dlpack__", (), Some(&version));
        }
        let memory = slf.get();
        if max_version.is_none_or(|(major, _)| major < DLPACK_MAJOR) && !memory.content.is_writable() {
            return Err(PyBufferError::new_err(
                "frames are read-only, which DLPack before version 1 cannot express; use `frame.copy()`",
            ));
        }
        let Some(dtype) = memory.layout.dtype else {
            return Err(PyBufferError::new_err(
                "points and samples have fields, which DLPack cannot express",
            ));
        };
        let name = dtype.name();
        let kind = match name.as_bytes()[0] {
            b'u' => 1,
            b'i' => 0,
            _ => 2,
        };
        let item = memory.layout.item_bytes;
        let elements = |sizes: &[ffi::Py_ssize_t], per: usize| -> Vec<i64> {
            sizes.iter().map(|&size| size as i64 / per as i64).collect()
        };
        let [shape, strides] = &memory.sizes;
        let (mut shape, mut strides) = (elements(shape, 1), elements(strides, item));
        let tensor = DlTensor {
            data: memory.content.place(py)?.cast(),
            device: DlDevice { kind: DL_CPU, id: 0 },
            ndim: shape.len() as i32,
            dtype: DlDataType { code: kind, bits: (item * 8) as u8, lanes: 1 },
            shape: shape.as_mut_ptr(),
            strides: strides.as_mut_ptr(),
            byte_offset: 0,
        };
        let managed = Box::new(DlManaged {
            version: [DLPACK_MAJOR, 0],
            manager: ptr::null_mut(),
            deleter: Some(delete),
            flags: if memory.content.is_writable() { 0 } else { DL_READ_ONLY },
            tensor,
            // Moving a vector does not move its elements.
            _shape: shape,
            _strides: strides,
            owner: slf.clone().into_any().unbind(),
        });
        memory.exports.fetch_add(1, Ordering::AcqRel);
        let managed = Box::into_raw(managed);
        // SAFETY: the capsule gets a pointer to a `DlManaged`, which begins as DLPack 1 says, and the function that frees
        // it if it is not consumed.
        unsafe {
            let capsule = ffi::PyCapsule_New(managed.cast(), DLPACK_NAME.as_ptr(), Some(free_untaken));
            if capsule.is_null() {
                delete(managed);
            }
            Bound::from_owned_ptr_or_err(py, capsule)
        }
    }
}

/// DLPack's structures, of version 1.0.
#[repr(C)]
struct DlDevice {
    kind: i32,
    id: i32,
}

#[repr(C)]
struct DlDataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: DlDevice,
    ndim: i32,
    dtype: DlDataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// DLPack's `DLManagedTensorVersioned`, followed by the data that it points to.
#[repr(C)]
struct DlManaged {
    version: [u32; 2],
    manager: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut DlManaged)>,
    flags: u64,
    tensor: DlTensor,
    _shape: Vec<i64>,
    _strides: Vec<i64>,
    owner: Py<PyAny>,
}

/// Frees a tensor. DLPack lets any thread call it.
unsafe extern "C" fn delete(managed: *mut DlManaged) {
    if managed.is_null() {
        return;
    }
    // SAFETY: the consumer of the tensor calls this once, with the pointer of `__dlpack__`.
    let managed = unsafe { Box::from_raw(managed) };
    let ended = Python::try_attach(|py| {
        if let Ok(memory) = managed.owner.bind(py).cast::<Memory>() {
            memory.get().exports.fetch_sub(1, Ordering::AcqRel);
        }
        drop(managed);
    });
    // Without an interpreter the process is about to end, and its memory is freed then.
    let _ = ended;
}

/// Frees the tensor of a capsule that was not consumed: a consumer renames the capsule.
unsafe extern "C" fn free_untaken(capsule: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls this with the capsule, while this thread holds the interpreter. The name shows whether this
    // code still owns the pointer.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, DLPACK_NAME.as_ptr()) == 1 {
            delete(ffi::PyCapsule_GetPointer(capsule, DLPACK_NAME.as_ptr()).cast());
        }
    }
}
