// dropsync.so: preloaded into a process, it notes what a power loss at any moment could take away from the files below
// $DROPSYNC_DIR. After the process was killed, drop_unsynced.py rolls the directory back to such a state.
//
// Notes go to $DROPSYNC_STATE/journal by plain write(2), so that they survive kill -9; $DROPSYNC_STATE must be outside the
// directory, on the same file system, and has a folder "graves": files that were unlinked or replaced stay there, linked,
// until their directory is synced.
//
// Each change is noted before it is made, with what it takes to undo it, and once more when it is done. A sync covers the
// changes that were done when it began, and counts only when it has returned. The records (little-endian, each a type
// byte, a u32 length, and a body) are:
//   W op ino offset length old_size new_size undo   bytes written, cut off, or punched out; undo: what was there before
//   N op path                                       a file is about to be created
//   C op ino path                                   ... and was (replaces E)
//   R op ino from to grave                          rename; grave: the replaced file ("" if none)
//   U op ino path grave                             unlink
//   L op ino path                                   link: a further name
//   M op path / D op path                           mkdir / rmdir
//   E op size                                       done; the file's size afterwards (0 for names)
//   X op                                            failed: nothing happened
//   S sync ino / Y sync path                        a sync of a file / a directory begins
//   F sync                                          ... and has succeeded
// Strings are a u32 length and the bytes. Not seen: writes through mmap, stdio's own buffers, duplicated descriptors.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FD 65536

enum { kUntracked = 0, kFile = 1, kDirectory = 2 };

static char root[PATH_MAX];   // canonical; empty: nothing is tracked
static char graves[PATH_MAX];
static size_t root_length;
static int journal = -1;
static atomic_uchar kinds[MAX_FD];
static pthread_mutex_t journal_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t names_mutex = PTHREAD_MUTEX_INITIALIZER;  // one change of names at a time
static atomic_uint next_id;
static int skip_syncs;  // $DROPSYNC_FAST: the notes suffice, the disk need not be bothered

static void* Real(const char* name) {
  void* function = dlsym(RTLD_NEXT, name);
  if (function == NULL) abort();
  return function;
}
// Looked up once per call site.
#define CALL(result, name, ...)                                                \
  do {                                                                         \
    static _Atomic(void*) real_;                                               \
    void* real = atomic_load_explicit(&real_, memory_order_relaxed);           \
    if (real == NULL) {                                                        \
      real = Real(#name);                                                      \
      atomic_store_explicit(&real_, real, memory_order_relaxed);               \
    }                                                                          \
    result = ((__typeof__(&name))real)(__VA_ARGS__);                           \
  } while (0)

static int RealOpen(const char* path, int flags, mode_t mode) {
  int fd;
  CALL(fd, open, path, flags, mode);
  return fd;
}
static ssize_t RealWrite(int fd, const void* bytes, size_t n) {
  ssize_t written;
  CALL(written, write, fd, bytes, n);
  return written;
}

__attribute__((constructor)) static void Start(void) {
  const char* directory = getenv("DROPSYNC_DIR");
  const char* state = getenv("DROPSYNC_STATE");
  if (directory == NULL || state == NULL) return;
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/journal", state);
  snprintf(graves, sizeof graves, "%s/graves", state);
  journal = RealOpen(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (journal < 0 || realpath(directory, root) == NULL) {
    fprintf(stderr, "dropsync: cannot use DROPSYNC_DIR %s with DROPSYNC_STATE %s\n", directory, state);
    abort();
  }
  root_length = strlen(root);
  skip_syncs = getenv("DROPSYNC_FAST") != NULL;
}

// ------------------------------------------------------------------------------------------------------------- journal

struct Record {
  char* bytes;
  size_t size, capacity;
};

static void Put(struct Record* r, const void* bytes, size_t n) {
  if (r->size + n > r->capacity) {
    r->capacity = (r->size + n) * 2;
    r->bytes = realloc(r->bytes, r->capacity);
    if (r->bytes == NULL) abort();
  }
  memcpy(r->bytes + r->size, bytes, n);
  r->size += n;
}
static void Put64(struct Record* r, uint64_t value) { Put(r, &value, sizeof value); }
static void PutString(struct Record* r, const char* bytes, size_t n) {
  uint32_t length = (uint32_t)n;
  Put(r, &length, sizeof length);
  Put(r, bytes, n);
}
static struct Record Begin(char type) {
  struct Record r = {NULL, 0, 0};
  uint32_t length = 0;
  Put(&r, &type, 1);
  Put(&r, &length, sizeof length);
  return r;
}
static void Commit(struct Record* r) {
  uint32_t length = (uint32_t)(r->size - 5);
  memcpy(r->bytes + 1, &length, sizeof length);
  pthread_mutex_lock(&journal_mutex);
  for (size_t at = 0; at < r->size;) {
    ssize_t n = RealWrite(journal, r->bytes + at, r->size - at);
    if (n < 0 && errno != EINTR) abort();
    if (n > 0) at += (size_t)n;
  }
  pthread_mutex_unlock(&journal_mutex);
  free(r->bytes);
}
static uint64_t NextId(void) { return ((uint64_t)getpid() << 32) | (atomic_fetch_add(&next_id, 1) + 1); }

static void Done(uint64_t op, uint64_t size) {
  struct Record r = Begin('E');
  Put64(&r, op);
  Put64(&r, size);
  Commit(&r);
}
static void Failed(uint64_t op) {
  struct Record r = Begin('X');
  Put64(&r, op);
  Commit(&r);
}

// --------------------------------------------------------------------------------------------------- what is tracked

static int Below(const char* path) {
  return root_length > 0 && strncmp(path, root, root_length) == 0 &&
         (path[root_length] == '/' || path[root_length] == '\0');
}

// The canonical path of `path` as seen from `dirfd`, whose last part need not exist. False if it isn't below the root.
static int Canonical(int dirfd, const char* path, char* out) {
  if (root_length == 0 || path == NULL) return 0;
  char full[PATH_MAX], parent[PATH_MAX];
  if (path[0] != '/' && dirfd != AT_FDCWD) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
    ssize_t n = readlink(link, parent, sizeof parent - 1);
    if (n <= 0) return 0;
    parent[n] = '\0';
    if (snprintf(full, sizeof full, "%s/%s", parent, path) >= (int)sizeof full) return 0;
  } else if (snprintf(full, sizeof full, "%s", path) >= (int)sizeof full) {
    return 0;
  }
  size_t length = strlen(full);
  while (length > 1 && full[length - 1] == '/') full[--length] = '\0';
  char* slash = strrchr(full, '/');
  const char* name = slash == NULL ? full : slash + 1;
  if (slash == NULL) {
    if (realpath(".", parent) == NULL) return 0;
  } else {
    char saved = slash[0];
    slash[0] = '\0';
    const char* result = realpath(full[0] == '\0' ? "/" : full, parent);
    slash[0] = saved;
    if (result == NULL) return 0;
  }
  return snprintf(out, PATH_MAX, "%s/%s", parent, name) < PATH_MAX && Below(out);
}

static int Kind(int fd) { return fd >= 0 && fd < MAX_FD ? atomic_load(&kinds[fd]) : kUntracked; }

static void Track(int fd) {
  if (root_length == 0 || fd < 0 || fd >= MAX_FD) return;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  path[n > 0 ? n : 0] = '\0';
  struct stat info;
  int kind = kUntracked;
  if (n > 0 && Below(path) && fstat(fd, &info) == 0) {
    kind = S_ISREG(info.st_mode) ? kFile : S_ISDIR(info.st_mode) ? kDirectory : kUntracked;
  }
  atomic_store(&kinds[fd], (unsigned char)kind);
}

// --------------------------------------------------------------------------------------------------------------- data

// Notes that [offset, offset + length) of the file is about to change, and its size from old to new.
static uint64_t NoteChange(int fd, uint64_t ino, uint64_t offset, uint64_t length, uint64_t old_size, uint64_t new_size) {
  uint64_t op = NextId();
  struct Record r = Begin('W');
  Put64(&r, op);
  Put64(&r, ino);
  Put64(&r, offset);
  Put64(&r, length);
  Put64(&r, old_size);
  Put64(&r, new_size);
  size_t undo = offset < old_size ? (size_t)(length < old_size - offset ? length : old_size - offset) : 0;
  char* old = NULL;
  if (undo > 0) {
    // The descriptor may be open for writing only.
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int reader = RealOpen(link, O_RDONLY | O_CLOEXEC, 0);
    old = calloc(1, undo);
    if (reader < 0 || old == NULL) abort();
    for (size_t at = 0; at < undo;) {
      ssize_t n = pread(reader, old + at, undo - at, (off_t)(offset + at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      at += (size_t)n;
    }
    int closed;
    CALL(closed, close, reader);
    (void)closed;
    while (undo > 0 && old[undo - 1] == '\0') --undo;  // zeroes are implied
  }
  PutString(&r, old == NULL ? "" : old, undo);
  free(old);
  Commit(&r);
  return op;
}

static uint64_t BeforeWrite(int fd, off_t offset, size_t length) {
  if (Kind(fd) != kFile || length == 0) return 0;
  int saved = errno;
  struct stat info;
  if (fstat(fd, &info) != 0) return 0;
  if (offset < 0) {
    offset = (fcntl(fd, F_GETFL) & O_APPEND) != 0 ? info.st_size : lseek(fd, 0, SEEK_CUR);
    if (offset < 0) offset = info.st_size;
  }
  uint64_t old_size = (uint64_t)info.st_size, end = (uint64_t)offset + length;
  uint64_t op = NoteChange(fd, info.st_ino, (uint64_t)offset, length, old_size, end > old_size ? end : old_size);
  errno = saved;
  return op;
}

static uint64_t BeforeResize(int fd, off_t new_size) {
  if (Kind(fd) != kFile) return 0;
  int saved = errno;
  struct stat info;
  if (fstat(fd, &info) != 0) return 0;
  uint64_t old_size = (uint64_t)info.st_size, size = (uint64_t)new_size;
  uint64_t op = NoteChange(fd, info.st_ino, size < old_size ? size : old_size, size < old_size ? old_size - size : 0,
                           old_size, size);
  errno = saved;
  return op;
}

static void After(int fd, uint64_t op) {
  if (op == 0) return;
  int saved = errno;
  struct stat info;
  Done(op, fstat(fd, &info) == 0 ? (uint64_t)info.st_size : 0);
  errno = saved;
}

static size_t Total(const struct iovec* parts, int count) {
  size_t total = 0;
  for (int i = 0; i < count; ++i) total += parts[i].iov_len;
  return total;
}

#define DATA_CALL(type, before, name, ...) \
  uint64_t op = before;                    \
  type result;                             \
  CALL(result, name, __VA_ARGS__);         \
  After(fd, op);                           \
  return result

ssize_t write(int fd, const void* bytes, size_t n) { DATA_CALL(ssize_t, BeforeWrite(fd, -1, n), write, fd, bytes, n); }
ssize_t pwrite(int fd, const void* bytes, size_t n, off_t at) {
  DATA_CALL(ssize_t, BeforeWrite(fd, at, n), pwrite, fd, bytes, n, at);
}
ssize_t pwrite64(int fd, const void* bytes, size_t n, off64_t at) {
  DATA_CALL(ssize_t, BeforeWrite(fd, at, n), pwrite64, fd, bytes, n, at);
}
ssize_t writev(int fd, const struct iovec* parts, int count) {
  DATA_CALL(ssize_t, BeforeWrite(fd, -1, Total(parts, count)), writev, fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t at) {
  DATA_CALL(ssize_t, BeforeWrite(fd, at, Total(parts, count)), pwritev, fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec* parts, int count, off64_t at) {
  DATA_CALL(ssize_t, BeforeWrite(fd, at, Total(parts, count)), pwritev64, fd, parts, count, at);
}
int ftruncate(int fd, off_t size) { DATA_CALL(int, BeforeResize(fd, size), ftruncate, fd, size); }
int ftruncate64(int fd, off64_t size) { DATA_CALL(int, BeforeResize(fd, size), ftruncate64, fd, size); }

static uint64_t BeforeAllocate(int fd, int mode, off_t offset, off_t length) {
  struct stat info;
  if (Kind(fd) != kFile || fstat(fd, &info) != 0) return 0;
  if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) return BeforeWrite(fd, offset, (size_t)length);
  if ((mode & FALLOC_FL_KEEP_SIZE) != 0 || offset + length <= info.st_size) return 0;
  return BeforeResize(fd, offset + length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
  DATA_CALL(int, BeforeAllocate(fd, mode, offset, length), fallocate, fd, mode, offset, length);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  DATA_CALL(int, BeforeAllocate(fd, mode, offset, length), fallocate64, fd, mode, offset, length);
}
int posix_fallocate(int fd, off_t offset, off_t length) {
  DATA_CALL(int, BeforeAllocate(fd, 0, offset, length), posix_fallocate, fd, offset, length);
}
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
  DATA_CALL(int, BeforeAllocate(fd, 0, offset, length), posix_fallocate64, fd, offset, length);
}
// Starts writing out, promises nothing.
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
  int result;
  CALL(result, sync_file_range, fd, offset, length, flags);
  return result;
}

// -------------------------------------------------------------------------------------------------------------- names

// Graves wait for a sync of the directory they were taken from.
struct Grave {
  struct Grave* next;
  uint64_t number;
  char directory[PATH_MAX];
};
static struct Grave* waiting;   // guarded by names_mutex
static atomic_uint next_grave;

static void DirectoryOf(const char* path, char* out) {
  snprintf(out, PATH_MAX, "%s", path);
  char* slash = strrchr(out, '/');
  if (slash != NULL && slash != out) *slash = '\0';
}

// Keeps the file at `path` alive under a name in `graves`, which is put into `name`; "" if there is none.
static void Bury(const char* path, char* name) {
  struct stat info;
  name[0] = '\0';
  if (lstat(path, &info) != 0 || !S_ISREG(info.st_mode)) return;
  unsigned number = atomic_fetch_add(&next_grave, 1);
  char grave[PATH_MAX + 64];
  snprintf(name, 64, "%d.%u", (int)getpid(), number);
  snprintf(grave, sizeof grave, "%s/%s", graves, name);
  int linked;
  CALL(linked, link, path, grave);
  if (linked != 0) {
    fprintf(stderr, "dropsync: cannot link %s to %s: %s\n", path, grave, strerror(errno));
    abort();
  }
  struct Grave* entry = calloc(1, sizeof *entry);
  if (entry == NULL) abort();
  entry->number = number;
  DirectoryOf(path, entry->directory);
  entry->next = waiting;
  waiting = entry;
}

// Takes the graves of `directory` off the list: they may go when the sync that now begins has succeeded.
static struct Grave* TakeGraves(const char* directory) {
  struct Grave *taken = NULL, **at = &waiting;
  while (*at != NULL) {
    struct Grave* entry = *at;
    if (strcmp(entry->directory, directory) == 0) {
      *at = entry->next;
      entry->next = taken;
      taken = entry;
    } else {
      at = &entry->next;
    }
  }
  return taken;
}

static void EmptyGraves(struct Grave* taken) {
  while (taken != NULL) {
    char grave[PATH_MAX + 64];
    snprintf(grave, sizeof grave, "%s/%d.%u", graves, (int)getpid(), (unsigned)taken->number);
    int removed;
    CALL(removed, unlink, grave);
    (void)removed;
    struct Grave* next = taken->next;
    free(taken);
    taken = next;
  }
}

static uint64_t NotePaths(char type, int has_ino, uint64_t ino, const char* a, const char* b, const char* c) {
  uint64_t op = NextId();
  struct Record r = Begin(type);
  Put64(&r, op);
  if (has_ino) Put64(&r, ino);
  PutString(&r, a, strlen(a));
  if (b != NULL) PutString(&r, b, strlen(b));
  if (c != NULL) PutString(&r, c, strlen(c));
  Commit(&r);
  return op;
}

static void AfterNames(uint64_t op, int result) {
  int saved = errno;
  if (result == 0) {
    Done(op, 0);
  } else {
    Failed(op);
  }
  errno = saved;
}

static uint64_t Inode(const char* path) {
  struct stat info;
  return lstat(path, &info) == 0 ? info.st_ino : 0;
}

static int OpenTracked(int dirfd, const char* path, int flags, mode_t mode) {
  char canonical[PATH_MAX];
  int fd;
  if (!Canonical(dirfd, path, canonical)) {
    CALL(fd, openat, dirfd, path, flags, mode);
    Track(fd);
    return fd;
  }
  pthread_mutex_lock(&names_mutex);
  struct stat info;
  int existed = lstat(canonical, &info) == 0;
  uint64_t created = (flags & O_CREAT) != 0 && !existed ? NotePaths('N', 0, 0, canonical, NULL, NULL) : 0;
  int cut = existed && S_ISREG(info.st_mode) && info.st_size > 0 && (flags & O_TRUNC) != 0 &&
            (flags & O_ACCMODE) != O_RDONLY && (flags & O_EXCL) == 0;
  CALL(fd, openat, dirfd, path, cut ? flags & ~O_TRUNC : flags, mode);
  int saved = errno;
  Track(fd);
  if (created != 0 && fd >= 0) {
    fstat(fd, &info);
    struct Record r = Begin('C');
    Put64(&r, created);
    Put64(&r, info.st_ino);
    PutString(&r, canonical, strlen(canonical));
    Commit(&r);
  } else if (created != 0) {
    Failed(created);
  }
  pthread_mutex_unlock(&names_mutex);
  if (cut && fd >= 0) (void)!ftruncate(fd, 0);
  errno = saved;
  return fd;
}

#define MODE(flags)                              \
  mode_t mode = 0;                               \
  if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {  \
    va_list arguments;                           \
    va_start(arguments, flags);                  \
    mode = (mode_t)va_arg(arguments, unsigned);  \
    va_end(arguments);                           \
  }
int open(const char* path, int flags, ...) {
  MODE(flags)
  return OpenTracked(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  MODE(flags)
  return OpenTracked(AT_FDCWD, path, flags, mode);
}
int openat(int dirfd, const char* path, int flags, ...) {
  MODE(flags)
  return OpenTracked(dirfd, path, flags, mode);
}
int openat64(int dirfd, const char* path, int flags, ...) {
  MODE(flags)
  return OpenTracked(dirfd, path, flags, mode);
}
int __open_2(const char* path, int flags) { return OpenTracked(AT_FDCWD, path, flags, 0); }
int __open64_2(const char* path, int flags) { return OpenTracked(AT_FDCWD, path, flags, 0); }
int __openat_2(int dirfd, const char* path, int flags) { return OpenTracked(dirfd, path, flags, 0); }
int __openat64_2(int dirfd, const char* path, int flags) { return OpenTracked(dirfd, path, flags, 0); }
int creat(const char* path, mode_t mode) { return OpenTracked(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char* path, mode_t mode) { return OpenTracked(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
  if (fd >= 0 && fd < MAX_FD) atomic_store(&kinds[fd], kUntracked);
  int result;
  CALL(result, close, fd);
  return result;
}

static int RenameTracked(int from_dirfd, const char* from, int to_dirfd, const char* to, unsigned flags) {
  char source[PATH_MAX], target[PATH_MAX], grave[64];
  const int tracked = Canonical(to_dirfd, to, target) && Canonical(from_dirfd, from, source);
  int result;
  if (!tracked) {
    CALL(result, renameat2, from_dirfd, from, to_dirfd, to, flags);
    return result;
  }
  pthread_mutex_lock(&names_mutex);
  uint64_t ino = Inode(source);
  grave[0] = '\0';
  if (ino != 0 && Inode(target) != ino) Bury(target, grave);
  uint64_t op = NotePaths('R', 1, ino, source, target, grave);
  CALL(result, renameat2, from_dirfd, from, to_dirfd, to, flags);
  AfterNames(op, result);
  pthread_mutex_unlock(&names_mutex);
  return result;
}
int rename(const char* from, const char* to) { return RenameTracked(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_dirfd, const char* from, int to_dirfd, const char* to) {
  return RenameTracked(from_dirfd, from, to_dirfd, to, 0);
}
int renameat2(int from_dirfd, const char* from, int to_dirfd, const char* to, unsigned flags) {
  return RenameTracked(from_dirfd, from, to_dirfd, to, flags);
}

static int UnlinkTracked(int dirfd, const char* path, int flags) {
  char canonical[PATH_MAX], grave[64];
  int result;
  if (!Canonical(dirfd, path, canonical)) {
    CALL(result, unlinkat, dirfd, path, flags);
    return result;
  }
  pthread_mutex_lock(&names_mutex);
  uint64_t op;
  if ((flags & AT_REMOVEDIR) != 0) {
    op = NotePaths('D', 0, 0, canonical, NULL, NULL);
  } else {
    uint64_t ino = Inode(canonical);
    Bury(canonical, grave);
    op = NotePaths('U', 1, ino, canonical, grave, NULL);
  }
  CALL(result, unlinkat, dirfd, path, flags);
  AfterNames(op, result);
  pthread_mutex_unlock(&names_mutex);
  return result;
}
int unlink(const char* path) { return UnlinkTracked(AT_FDCWD, path, 0); }
int unlinkat(int dirfd, const char* path, int flags) { return UnlinkTracked(dirfd, path, flags); }
int rmdir(const char* path) { return UnlinkTracked(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char* path) {
  struct stat info;
  return UnlinkTracked(AT_FDCWD, path, lstat(path, &info) == 0 && S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0);
}

static int LinkTracked(int from_dirfd, const char* from, int to_dirfd, const char* to, int flags) {
  char target[PATH_MAX];
  int result;
  if (!Canonical(to_dirfd, to, target)) {
    CALL(result, linkat, from_dirfd, from, to_dirfd, to, flags);
    return result;
  }
  pthread_mutex_lock(&names_mutex);
  struct stat info;
  uint64_t ino = fstatat(from_dirfd, from, &info, 0) == 0 ? info.st_ino : 0;
  uint64_t op = NotePaths('L', 1, ino, target, NULL, NULL);
  CALL(result, linkat, from_dirfd, from, to_dirfd, to, flags);
  AfterNames(op, result);
  pthread_mutex_unlock(&names_mutex);
  return result;
}
int link(const char* from, const char* to) { return LinkTracked(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int from_dirfd, const char* from, int to_dirfd, const char* to, int flags) {
  return LinkTracked(from_dirfd, from, to_dirfd, to, flags);
}

static int MakeDirectoryTracked(int dirfd, const char* path, mode_t mode) {
  char canonical[PATH_MAX];
  int result;
  if (!Canonical(dirfd, path, canonical)) {
    CALL(result, mkdirat, dirfd, path, mode);
    return result;
  }
  pthread_mutex_lock(&names_mutex);
  uint64_t op = NotePaths('M', 0, 0, canonical, NULL, NULL);
  CALL(result, mkdirat, dirfd, path, mode);
  AfterNames(op, result);
  pthread_mutex_unlock(&names_mutex);
  return result;
}
int mkdir(const char* path, mode_t mode) { return MakeDirectoryTracked(AT_FDCWD, path, mode); }
int mkdirat(int dirfd, const char* path, mode_t mode) { return MakeDirectoryTracked(dirfd, path, mode); }

// -------------------------------------------------------------------------------------------------------------- syncs

static uint64_t BeforeSync(int fd, struct Grave** taken) {
  const int kind = Kind(fd);
  *taken = NULL;
  if (kind == kUntracked) return 0;
  uint64_t sync = NextId();
  if (kind == kFile) {
    struct stat info;
    if (fstat(fd, &info) != 0) return 0;
    struct Record r = Begin('S');
    Put64(&r, sync);
    Put64(&r, info.st_ino);
    Commit(&r);
    return sync;
  }
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n <= 0) return 0;
  path[n] = '\0';
  pthread_mutex_lock(&names_mutex);
  *taken = TakeGraves(path);
  struct Record r = Begin('Y');
  Put64(&r, sync);
  PutString(&r, path, strlen(path));
  Commit(&r);
  pthread_mutex_unlock(&names_mutex);
  return sync;
}

static int AfterSync(uint64_t sync, struct Grave* taken, int result) {
  if (sync == 0) return result;
  int saved = errno;
  if (result == 0) {
    struct Record r = Begin('F');
    Put64(&r, sync);
    Commit(&r);
    EmptyGraves(taken);
  } else {
    while (taken != NULL) {  // their files simply stay until the directory is rolled back
      struct Grave* next = taken->next;
      free(taken);
      taken = next;
    }
  }
  errno = saved;
  return result;
}

int fsync(int fd) {
  struct Grave* taken;
  uint64_t sync = BeforeSync(fd, &taken);
  int result = 0;
  if (sync == 0 || !skip_syncs) CALL(result, fsync, fd);
  return AfterSync(sync, taken, result);
}
int fdatasync(int fd) {
  struct Grave* taken;
  uint64_t sync = BeforeSync(fd, &taken);
  int result = 0;
  if (sync == 0 || !skip_syncs) CALL(result, fdatasync, fd);
  return AfterSync(sync, taken, result);
}
