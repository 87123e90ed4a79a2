//! RocksDB through its C interface: `Put` with `sync`, keys count up.
//!
//! Set for this load: logs are recycled (their blocks are written already, as ours are), the log and the memtable are written as a
//! pipeline, no compression.

use aquifer_benches::case::{Contender, Takes};

/// RocksDB with synchronous writes.
pub const ROCKSDB: Contender<'static> = Contender {
    name: "rocksdb",
    version: option_env!("ROCKSDB_VERSION"),
    driver: None,
    takes: Takes::Payload,
    in_flight: 1,
    keeps_files: false,
    open: &linked::open,
};

#[cfg(not(has_rocksdb))]
mod linked {
    //! No RocksDB on this machine.

    use aquifer_benches::case::{Case, Load};
    use std::io;
    use std::path::Path;

    pub fn open(_: &Path, _: Load) -> io::Result<Box<dyn Case>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "needs librocksdb-dev and pkg-config when this is built"))
    }
}

#[cfg(has_rocksdb)]
mod linked {
    //! The few functions of rocksdb/c.h that this takes.

    use aquifer_benches::case::{Case, Load};
    use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_void};
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::ptr::{NonNull, null_mut};
    use std::sync::atomic::{AtomicU64, Ordering};

    type Object = *mut c_void;

    unsafe extern "C" {
        fn rocksdb_options_create() -> Object;
        fn rocksdb_options_destroy(options: Object);
        fn rocksdb_options_set_create_if_missing(options: Object, value: c_uchar);
        fn rocksdb_options_set_compression(options: Object, value: c_int);
        fn rocksdb_options_set_write_buffer_size(options: Object, bytes: usize);
        fn rocksdb_options_set_max_background_jobs(options: Object, jobs: c_int);
        fn rocksdb_options_set_recycle_log_file_num(options: Object, files: usize);
        fn rocksdb_options_set_enable_pipelined_write(options: Object, value: c_uchar);
        fn rocksdb_writeoptions_create() -> Object;
        fn rocksdb_writeoptions_set_sync(options: Object, value: c_uchar);
        fn rocksdb_writeoptions_destroy(options: Object);
        fn rocksdb_readoptions_create() -> Object;
        fn rocksdb_readoptions_destroy(options: Object);
        fn rocksdb_open(options: Object, name: *const c_char, error: *mut *mut c_char) -> Object;
        fn rocksdb_close(database: Object);
        fn rocksdb_put(
            database: Object,
            options: Object,
            key: *const c_char,
            key_bytes: usize,
            value: *const c_char,
            value_bytes: usize,
            error: *mut *mut c_char,
        );
        fn rocksdb_create_iterator(database: Object, options: Object) -> Object;
        fn rocksdb_iter_seek_to_first(iterator: Object);
        fn rocksdb_iter_valid(iterator: Object) -> c_uchar;
        fn rocksdb_iter_next(iterator: Object);
        fn rocksdb_iter_value(iterator: Object, bytes: *mut usize) -> *const c_char;
        fn rocksdb_iter_destroy(iterator: Object);
        fn rocksdb_free(memory: *mut c_void);
    }

    const COMPRESSION_NONE: c_int = 0;

    struct RocksDb {
        database: Object,
        synchronous: Object,
        next: AtomicU64,
    }

    // SAFETY: a database and constant write options may be used from any thread (rocksdb/db.h).
    unsafe impl Send for RocksDb {}
    // SAFETY: as above.
    unsafe impl Sync for RocksDb {}

    pub fn open(dir: &Path, _: Load) -> io::Result<Box<dyn Case>> {
        let name = CString::new(dir.as_os_str().as_bytes())?;
        let mut error = null_mut();
        // SAFETY: the options are alive until they are destroyed here, and the name ends with a zero.
        let database = unsafe {
            let options = rocksdb_options_create();
            rocksdb_options_set_create_if_missing(options, 1);
            rocksdb_options_set_compression(options, COMPRESSION_NONE);
            rocksdb_options_set_write_buffer_size(options, 64 << 20);
            rocksdb_options_set_max_background_jobs(options, 2);
            rocksdb_options_set_recycle_log_file_num(options, 4);
            rocksdb_options_set_enable_pipelined_write(options, 1);
            let database = rocksdb_open(options, name.as_ptr(), &mut error);
            rocksdb_options_destroy(options);
            database
        };
        check(error)?;
        // SAFETY: fresh options, set before anybody else sees them.
        let synchronous = unsafe {
            let options = rocksdb_writeoptions_create();
            rocksdb_writeoptions_set_sync(options, 1);
            options
        };
        Ok(Box::new(RocksDb { database, synchronous, next: AtomicU64::new(0) }))
    }

    /// Takes the message that a call left behind.
    fn check(error: *mut c_char) -> io::Result<()> {
        let Some(error) = NonNull::new(error) else { return Ok(()) };
        // SAFETY: a message that ends with a zero and belongs to the caller.
        let message = unsafe {
            let message = CStr::from_ptr(error.as_ptr()).to_string_lossy().into_owned();
            rocksdb_free(error.as_ptr().cast());
            message
        };
        Err(io::Error::other(message))
    }

    impl Case for RocksDb {
        fn append(&self, _: usize, record: &[u8]) -> io::Result<()> {
            let key = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            let (key, value, mut error) = (key.as_ptr().cast(), record.as_ptr().cast(), null_mut());
            // SAFETY: key and value are alive for the call, which copies them.
            unsafe { rocksdb_put(self.database, self.synchronous, key, 8, value, record.len(), &mut error) };
            check(error)
        }

        fn stored(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
            let mut stored = Vec::new();
            // SAFETY: options and iterator are destroyed after their last use; a value is copied before the iterator moves on.
            unsafe {
                let options = rocksdb_readoptions_create();
                let iterator = rocksdb_create_iterator(self.database, options);
                rocksdb_iter_seek_to_first(iterator);
                while rocksdb_iter_valid(iterator) != 0 {
                    let mut bytes = 0;
                    let value = rocksdb_iter_value(iterator, &mut bytes);
                    stored.push(std::slice::from_raw_parts(value.cast::<u8>(), bytes).to_vec());
                    rocksdb_iter_next(iterator);
                }
                rocksdb_iter_destroy(iterator);
                rocksdb_readoptions_destroy(options);
            }
            Ok(Some(stored))
        }
    }

    impl Drop for RocksDb {
        fn drop(&mut self) {
            // SAFETY: nobody uses them any more.
            unsafe {
                rocksdb_close(self.database);
                rocksdb_writeoptions_destroy(self.synchronous);
            }
        }
    }
}
