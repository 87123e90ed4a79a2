//! The few functions of rocksdb/c.h that the benches take, and a database that is closed when it is dropped.
//!
//! Invariant: no compression, and a write returns when it is on the device.

use std::ffi::{CStr, CString, c_char, c_double, c_int, c_uchar, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{NonNull, null, null_mut};

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
    fn rocksdb_options_set_block_based_table_factory(options: Object, table: Object);
    fn rocksdb_options_set_disable_auto_compactions(options: Object, value: c_int);
    fn rocksdb_options_set_use_direct_reads(options: Object, value: c_uchar);
    fn rocksdb_cache_create_lru(bytes: usize) -> Object;
    fn rocksdb_cache_destroy(cache: Object);
    fn rocksdb_block_based_options_set_block_cache(table: Object, cache: Object);
    fn rocksdb_block_based_options_create() -> Object;
    fn rocksdb_block_based_options_destroy(table: Object);
    fn rocksdb_block_based_options_set_filter_policy(table: Object, policy: Object);
    fn rocksdb_filterpolicy_create_bloom_full(bits_per_key: c_double) -> Object;
    fn rocksdb_writeoptions_create() -> Object;
    fn rocksdb_writeoptions_set_sync(options: Object, value: c_uchar);
    fn rocksdb_writeoptions_destroy(options: Object);
    fn rocksdb_readoptions_create() -> Object;
    fn rocksdb_readoptions_destroy(options: Object);
    fn rocksdb_readoptions_set_readahead_size(options: Object, bytes: usize);
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
    fn rocksdb_writebatch_create() -> Object;
    fn rocksdb_writebatch_destroy(batch: Object);
    fn rocksdb_writebatch_put(batch: Object, key: *const c_char, key_bytes: usize, value: *const c_char, value_bytes: usize);
    fn rocksdb_writebatch_put_cf(
        batch: Object,
        family: Object,
        key: *const c_char,
        key_bytes: usize,
        value: *const c_char,
        value_bytes: usize,
    );
    fn rocksdb_create_column_family(database: Object, options: Object, name: *const c_char, error: *mut *mut c_char) -> Object;
    fn rocksdb_column_family_handle_destroy(family: Object);
    fn rocksdb_write(database: Object, options: Object, batch: Object, error: *mut *mut c_char);
    fn rocksdb_flushoptions_create() -> Object;
    fn rocksdb_flushoptions_destroy(options: Object);
    fn rocksdb_flush(database: Object, options: Object, error: *mut *mut c_char);
    fn rocksdb_compact_range(database: Object, start: *const c_char, start_bytes: usize, end: *const c_char, end_bytes: usize);
    fn rocksdb_property_int(database: Object, name: *const c_char, value: *mut u64) -> c_int;
    fn rocksdb_get_pinned(database: Object, options: Object, key: *const c_char, key_bytes: usize, error: *mut *mut c_char) -> Object;
    fn rocksdb_multi_get(
        database: Object,
        options: Object,
        keys: usize,
        starts: *const *const c_char,
        bytes: *const usize,
        values: *mut *mut c_char,
        value_bytes: *mut usize,
        errors: *mut *mut c_char,
    );
    fn rocksdb_pinnableslice_value(slice: Object, bytes: *mut usize) -> *const c_char;
    fn rocksdb_pinnableslice_destroy(slice: Object);
    fn rocksdb_create_iterator(database: Object, options: Object) -> Object;
    fn rocksdb_iter_seek_to_first(iterator: Object);
    fn rocksdb_iter_valid(iterator: Object) -> c_uchar;
    fn rocksdb_iter_next(iterator: Object);
    fn rocksdb_iter_key(iterator: Object, bytes: *mut usize) -> *const c_char;
    fn rocksdb_iter_value(iterator: Object, bytes: *mut usize) -> *const c_char;
    fn rocksdb_iter_get_error(iterator: Object, error: *mut *mut c_char);
    fn rocksdb_iter_destroy(iterator: Object);
    fn rocksdb_free(memory: *mut c_void);
}

const COMPRESSION_NONE: c_int = 0;

/// Bits of a filter for each key.
const FILTER_BITS: c_double = 10.0;

/// Bytes that a scan reads ahead.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// What is not the same for every bench.
#[derive(Clone, Copy)]
pub struct Settings {
    /// The log and the memtable are written side by side.
    pub pipelined: bool,
    /// Files are merged in the background.
    pub merges: bool,
    /// Bytes of a memtable.
    pub memtable_bytes: usize,
    /// Bytes of blocks in memory, with direct reads behind; `None` for the default, with the page cache behind.
    pub cache_bytes: Option<usize>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { pipelined: false, merges: true, memtable_bytes: 64 << 20, cache_bytes: None }
    }
}

/// A database of RocksDB.
pub struct Database {
    database: Object,
    synchronous: Object,
    /// How all rows are read, and how some.
    reading: Object,
    pointed: Object,
}

// SAFETY: a database and constant options may be used from any thread (rocksdb/db.h).
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

/// A family of keys; dropped before its database.
pub struct Family(Object);

// SAFETY: a handle may be used from any thread (rocksdb/db.h).
unsafe impl Send for Family {}
// SAFETY: as above.
unsafe impl Sync for Family {}

impl Drop for Family {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more, and its database is still open.
        unsafe { rocksdb_column_family_handle_destroy(self.0) };
    }
}

impl Database {
    /// Opens the database in `dir`, made when there is none. Logs are recycled: their blocks are written already, as ours are.
    pub fn open(dir: &Path, settings: Settings) -> io::Result<Database> {
        let name = CString::new(dir.as_os_str().as_bytes())?;
        let mut error = null_mut();
        // SAFETY: the options are alive until they are destroyed here, the filter belongs to the table options then, which share the cache, and the name ends with a zero.
        let database = unsafe {
            let options = rocksdb_options_create();
            rocksdb_options_set_create_if_missing(options, 1);
            rocksdb_options_set_compression(options, COMPRESSION_NONE);
            rocksdb_options_set_write_buffer_size(options, settings.memtable_bytes);
            rocksdb_options_set_max_background_jobs(options, 2);
            rocksdb_options_set_recycle_log_file_num(options, 4);
            rocksdb_options_set_enable_pipelined_write(options, c_uchar::from(settings.pipelined));
            rocksdb_options_set_disable_auto_compactions(options, c_int::from(!settings.merges));
            let table = rocksdb_block_based_options_create();
            rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(FILTER_BITS));
            if let Some(bytes) = settings.cache_bytes {
                let cache = rocksdb_cache_create_lru(bytes);
                rocksdb_block_based_options_set_block_cache(table, cache);
                rocksdb_cache_destroy(cache);
                rocksdb_options_set_use_direct_reads(options, 1);
            }
            rocksdb_options_set_block_based_table_factory(options, table);
            let database = rocksdb_open(options, name.as_ptr(), &mut error);
            rocksdb_block_based_options_destroy(table);
            rocksdb_options_destroy(options);
            database
        };
        check(error)?;
        // SAFETY: fresh options, set before anybody else sees them.
        let (synchronous, reading, pointed) = unsafe {
            let (synchronous, reading) = (rocksdb_writeoptions_create(), rocksdb_readoptions_create());
            rocksdb_writeoptions_set_sync(synchronous, 1);
            rocksdb_readoptions_set_readahead_size(reading, READ_AHEAD_BYTES);
            (synchronous, reading, rocksdb_readoptions_create())
        };
        Ok(Database { database, synchronous, reading, pointed })
    }

    /// Writes a value; it is on the device then.
    pub fn put(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut error = null_mut();
        // SAFETY: key and value are alive for the call, which copies them.
        unsafe {
            rocksdb_put(self.database, self.synchronous, key.as_ptr().cast(), key.len(), value.as_ptr().cast(), value.len(), &mut error);
        }
        check(error)
    }

    /// Writes all of the values or none; they are on the device then.
    pub fn write<'a>(&self, rows: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> io::Result<()> {
        self.write_batch(|batch| {
            for (key, value) in rows {
                // SAFETY: the batch is alive, and so are key and value for the call, which copies them.
                unsafe { rocksdb_writebatch_put(batch, key.as_ptr().cast(), key.len(), value.as_ptr().cast(), value.len()) };
            }
        })
    }

    /// As [`Database::write`], into a family of its own.
    pub fn write_to<'a>(&self, family: &Family, rows: impl Iterator<Item = ([u8; 8], &'a [u8])>) -> io::Result<()> {
        self.write_batch(|batch| {
            for (key, value) in rows {
                let (start, bytes) = (value.as_ptr().cast(), value.len());
                // SAFETY: as above; the family is alive.
                unsafe { rocksdb_writebatch_put_cf(batch, family.0, key.as_ptr().cast(), key.len(), start, bytes) };
            }
        })
    }

    fn write_batch(&self, fill: impl FnOnce(Object)) -> io::Result<()> {
        let mut error = null_mut();
        // SAFETY: the batch is destroyed after its last use.
        unsafe {
            let batch = rocksdb_writebatch_create();
            fill(batch);
            rocksdb_write(self.database, self.synchronous, batch, &mut error);
            rocksdb_writebatch_destroy(batch);
        }
        check(error)
    }

    /// Makes a family of keys that are merged apart from all others.
    pub fn family(&self, name: &CStr) -> io::Result<Family> {
        let mut error = null_mut();
        // SAFETY: the options are alive until they are destroyed here, and the name ends with a zero.
        let family = unsafe {
            let options = rocksdb_options_create();
            rocksdb_options_set_compression(options, COMPRESSION_NONE);
            let family = rocksdb_create_column_family(self.database, options, name.as_ptr(), &mut error);
            rocksdb_options_destroy(options);
            family
        };
        check(error).map(|()| Family(family))
    }

    /// Writes the memtable into a file, and waits for it.
    pub fn flush(&self) -> io::Result<()> {
        let mut error = null_mut();
        // SAFETY: the options (which wait by default) are alive for the call.
        unsafe {
            let options = rocksdb_flushoptions_create();
            rocksdb_flush(self.database, options, &mut error);
            rocksdb_flushoptions_destroy(options);
        }
        check(error)
    }

    /// Merges everything into the last level, and waits for it.
    pub fn compact(&self) {
        // SAFETY: no start and no end mean all keys.
        unsafe { rocksdb_compact_range(self.database, null(), 0, null(), 0) };
    }

    /// A figure that the database keeps, by its name.
    pub fn figure(&self, name: &CStr) -> io::Result<u64> {
        let mut value = 0;
        // SAFETY: the name ends with a zero, and the number is alive for the call.
        match unsafe { rocksdb_property_int(self.database, name.as_ptr(), &mut value) } {
            0 => Ok(value),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, name.to_string_lossy().into_owned())),
        }
    }

    /// Calls `found` with the value of a key, if it has one.
    pub fn get(&self, key: &[u8], found: impl FnOnce(&[u8])) -> io::Result<()> {
        let mut error = null_mut();
        // SAFETY: the key is alive for the call, and the value until its slice is destroyed.
        unsafe {
            let slice = rocksdb_get_pinned(self.database, self.pointed, key.as_ptr().cast(), key.len(), &mut error);
            if !slice.is_null() {
                let mut bytes = 0;
                let value = rocksdb_pinnableslice_value(slice, &mut bytes);
                found(std::slice::from_raw_parts(value.cast(), bytes));
                rocksdb_pinnableslice_destroy(slice);
            }
        }
        check(error)
    }

    /// Calls `found` with the value of each key that has one.
    pub fn get_all<'a>(&self, keys: impl Iterator<Item = &'a [u8]>, mut found: impl FnMut(&[u8])) -> io::Result<()> {
        let (starts, bytes): (Vec<*const c_char>, Vec<usize>) = keys.map(|key| (key.as_ptr().cast(), key.len())).unzip();
        let (mut values, mut value_bytes, mut errors) =
            (vec![null_mut(); starts.len()], vec![0; starts.len()], vec![null_mut(); starts.len()]);
        // SAFETY: all lists are as long as there are keys, and alive for the call.
        unsafe {
            rocksdb_multi_get(
                self.database,
                self.pointed,
                starts.len(),
                starts.as_ptr(),
                bytes.as_ptr(),
                values.as_mut_ptr(),
                value_bytes.as_mut_ptr(),
                errors.as_mut_ptr(),
            );
        }
        for (value, bytes) in values.into_iter().zip(value_bytes).filter(|(value, _)| !value.is_null()) {
            // SAFETY: a value belongs to the caller, who frees it after its last use.
            unsafe {
                found(std::slice::from_raw_parts(value.cast(), bytes));
                rocksdb_free(value.cast());
            }
        }
        errors.into_iter().try_for_each(check)
    }

    /// Calls `found` with each key and its value, in order.
    pub fn each(&self, mut found: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let mut error = null_mut();
        // SAFETY: key and value are looked at before the iterator moves on, and it is destroyed after its last use.
        unsafe {
            let iterator = rocksdb_create_iterator(self.database, self.reading);
            rocksdb_iter_seek_to_first(iterator);
            while rocksdb_iter_valid(iterator) != 0 {
                let (mut key_bytes, mut value_bytes) = (0, 0);
                let key = rocksdb_iter_key(iterator, &mut key_bytes);
                let value = rocksdb_iter_value(iterator, &mut value_bytes);
                found(std::slice::from_raw_parts(key.cast(), key_bytes), std::slice::from_raw_parts(value.cast(), value_bytes));
                rocksdb_iter_next(iterator);
            }
            rocksdb_iter_get_error(iterator, &mut error);
            rocksdb_iter_destroy(iterator);
        }
        check(error)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: nobody uses them any more.
        unsafe {
            rocksdb_close(self.database);
            rocksdb_writeoptions_destroy(self.synchronous);
            rocksdb_readoptions_destroy(self.reading);
            rocksdb_readoptions_destroy(self.pointed);
        }
    }
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
