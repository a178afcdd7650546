//! Keys of a session are out of reach of another one.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io;

/// Has a key in the session keyring of the calling thread; the kernel answers with its number (add_key(2)).
fn add_key(name: &std::ffi::CStr) -> i64 {
    let secret = b"of the host";
    // SAFETY: both names end with NUL, the secret is as long as it is said, and all outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            name.as_ptr(),
            secret.as_ptr(),
            secret.len(),
            libc::KEY_SPEC_SESSION_KEYRING,
        )
    }
}

/// What is in a key (keyctl(2)).
fn read_key(key: i64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; 64];
    // SAFETY: the buffer is as long as it is said, and outlives the call.
    let length = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_READ,
            key,
            bytes.as_mut_ptr(),
            bytes.len(),
        )
    };
    bytes.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(bytes)
}

#[test]
fn a_key_of_who_starts_something_is_out_of_reach_in_another_session() {
    conex_sys::process::join_session_keyring(c"conex-test-outer").unwrap();
    let key = add_key(c"conex-test-key");
    assert!(key > 0, "{}", io::Error::last_os_error());
    let read = |guarded: bool| {
        let thread = std::thread::spawn(move || {
            if guarded {
                conex_sys::process::join_session_keyring(c"conex-test-inner").unwrap();
            }
            read_key(key)
        });
        thread.join().unwrap()
    };
    assert_eq!(read(false).unwrap(), b"of the host");
    assert_eq!(read(true).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
}
