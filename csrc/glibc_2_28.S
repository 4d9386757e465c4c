// For wheels that run on older systems (`make wheel`): calls into glibc use versions of 2.28.
//
// A library that is linked on a newer glibc asks for each function's newest version, and where
// glibc lacks it the library doesn't load. Functions of threads, semaphores and dlopen, which the
// CUDA runtime inside calls, have version 2.34 only because they moved into libc.so; log has 2.29
// because it no longer sets matherr. Here each has a hidden function of its name that jumps to the
// old version; auditwheel says when one is missing.

.macro call_older name, version
  .symver older_\name, \name@\version
  .globl \name
  .hidden \name
  .type \name, @function
\name:
  jmp older_\name@PLT
  .size \name, . - \name
.endm

.text
call_older dlmopen, GLIBC_2.3.4
.irp name, dlclose, dlerror, dlopen, dlsym, dlvsym, log, sem_destroy, sem_init, sem_post, \
    sem_timedwait, sem_trywait, sem_wait, shm_open, shm_unlink
  call_older \name, GLIBC_2.2.5
.endr
.irp name, condattr_setpshared, create, detach, getspecific, join, key_create, key_delete, kill, \
    mutex_trylock, mutexattr_destroy, mutexattr_init, mutexattr_setpshared, mutexattr_settype, \
    once, rwlock_destroy, rwlock_init, rwlock_rdlock, rwlock_timedrdlock, rwlock_timedwrlock, \
    rwlock_tryrdlock, rwlock_trywrlock, rwlock_unlock, rwlock_wrlock, rwlockattr_destroy, \
    rwlockattr_init, rwlockattr_setpshared, setspecific, spin_destroy, spin_init, spin_lock, \
    spin_trylock, spin_unlock
  call_older pthread_\name, GLIBC_2.2.5
.endr

.section .note.GNU-stack, "", @progbits
