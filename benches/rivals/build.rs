//! Links the RocksDB that the system has (Debian: librocksdb-dev); where there is none, the bench says so instead of building one for ten minutes.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=ROCKSDB_LIB_DIR");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    let dir = std::env::var("ROCKSDB_LIB_DIR").ok();
    let version = Command::new("pkg-config").args(["--modversion", "rocksdb"]).output().ok();
    let version = version.filter(|output| output.status.success()).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    if dir.is_none() && version.is_none() {
        return;
    }
    if let Some(dir) = dir {
        println!("cargo::rustc-link-search=native={dir}");
    }
    println!("cargo::rustc-link-lib=dylib=rocksdb");
    println!("cargo::rustc-cfg=has_rocksdb");
    println!("cargo::rustc-env=ROCKSDB_VERSION={}", version.unwrap_or_else(|| "unknown".to_string()));
}
