/*
 * accounts.h: names with passwords. A file in htpasswd's format (FILE-1), and the threads that
 * hash passwords and change that file, so that the loop does neither.
 *
 *     open_accounts                    reads and locks the file, starts the threads
 *     hash_of                          the hash of a name's password, or NULL
 *     check, change, reload            gives a thread a job
 *     finished, forget, free_job       a job that is done; its owner does not want it any more
 *
 * The loop has `accounts->hashes`. The file is touched by one thread alone once the server has
 * started. The loop calls `finished` when `checks.ours` or `changes.ours` can be read. Needs
 * `allocate`, `checked`, `least`, `name_is_valid`, MAX_NAME and MAX_PASSWORD. It knows no user:
 * whom a job is for is a pointer that it gives back.
 */
#include <crypt.h>
#include <libgen.h>
#include <pthread.h>
#include <sched.h>
#include <search.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define HASH_SIZE       60   /* characters of a bcrypt hash */
#define HASH_COST       10   /* of a new one: 2 to the power of that is the work */
#define WORKER_NICENESS 15   /* of a thread that checks passwords: the loop goes first */
#define MAX_CHANGES     100  /* jobs that may wait for the thread that changes the file */
#define MAX_REASON      1200 /* bytes of what is wrong with the file */
#define MAX_ACCOUNT     (MAX_NAME + HASH_SIZE + 4) /* bytes of a line of the file */

enum task { CHECK, REGISTER, PASSWD, UNREGISTER, RELOAD };

enum outcome {
    DONE,    /* or the password is right */
    REFUSED, /* the password is wrong; or the name has an account already, or not this one */
    FAILED,  /* the file is bad, or cannot be written; `reason` says why */
};

/* One line of the file. */
struct account {
    char name[MAX_NAME + 1]; /* as it is there */
    char hash[HASH_SIZE + 1];
    size_t at; /* where in the file the hash begins */
};

/* What a thread has to do, and what came of it. */
struct job {
    enum task task;
    void *owner; /* whom it is for; NULL: the answer is not wanted any more */
    bool started;
    char name[MAX_NAME + 1];
    char password[MAX_PASSWORD + 1]; /* wiped when it is hashed */
    char hash[HASH_SIZE + 1];        /* the one that the account must have; then the new one */
    enum outcome outcome;
    char reason[MAX_REASON];
    bool was_read; /* the file was read, and is good */
    void *hashes;  /* tree of its accounts then */
    TAILQ_ENTRY(job) in_jobs;
};

/* Threads of one kind. Jobs go over a socket, since a thread that waits for the processor shares
 * no lock with the loop then. */
struct pool {
    const char *path;       /* of the file that these threads change; NULL: they check passwords */
    int ours, theirs;       /* the two ends of the socket */
    int workers;            /* how many threads there are */
    int busy;               /* how many of them have a job */
    int waiting;            /* jobs that no thread has yet */
    TAILQ_HEAD(, job) jobs; /* those, the oldest first */
};

struct accounts {
    void *hashes;        /* tree of struct account, by name, case aside */
    struct pool checks;  /* as many threads as there are processors */
    struct pool changes; /* one thread, which alone touches the file */
};

struct text {
    char *bytes;
    size_t length;
};

static int compare_accounts(const void *a, const void *b)
{
    return strcasecmp(((const struct account *)a)->name, ((const struct account *)b)->name);
}

static struct account *find_account(void *hashes, const char *name)
{
    struct account key;
    if (strlen(name) > MAX_NAME)
        return NULL;
    strcpy(key.name, name);
    struct account **found = tfind(&key, &hashes, compare_accounts);
    return found ? *found : NULL;
}

static const char *hash_of(const struct accounts *accounts, const char *name)
{
    const struct account *account = find_account(accounts->hashes, name);
    return account ? account->hash : NULL;
}

/* ---- The file ---- */

/* Whether a text begins with a bcrypt hash, of a cost that one can wait for. */
static bool is_hash(const char *text)
{
    static const char digits[] = "./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    if (strncmp(text, "$2", 2) != 0 || text[2] == '\0' || !strchr("aby", text[2]) ||
        text[3] != '$' || strspn(text + 4, "0123456789") != 2 || text[6] != '$')
        return false;
    int cost = (text[4] - '0') * 10 + text[5] - '0';
    return cost >= 4 && cost <= 17 && strspn(text + 7, digits) >= HASH_SIZE - 7;
}

/* Takes one line into the tree; gives what is wrong with it, or NULL. */
static const char *parse_account(const char *text, size_t start, size_t length, void **hashes)
{
    const char *line = text + start;
    const char *colon = memchr(line, ':', length);
    struct account account = {.at = start};
    if (length == 0 || *line == '#')
        return NULL;
    if (!colon)
        return "not NAME:HASH";
    size_t name_length = (size_t)(colon - line);
    memcpy(account.name, line, least(name_length, MAX_NAME));
    if (strlen(account.name) != name_length || !name_is_valid(account.name))
        return "invalid name";
    if (length - name_length - 1 != HASH_SIZE || !is_hash(colon + 1))
        return "not a bcrypt hash";
    if (find_account(*hashes, account.name))
        return "name given twice";
    memcpy(account.hash, colon + 1, HASH_SIZE);
    account.at += name_length + 1;
    struct account *own = allocate(sizeof *own);
    *own = account;
    checked(tsearch(own, hashes, compare_accounts));
    return NULL;
}

/* Makes a tree of the accounts in a text; false, with the reason, where a line is wrong. */
static bool parse_accounts(const struct text *text, void **hashes, char reason[MAX_REASON])
{
    size_t number = 1, length;
    *hashes = NULL;
    for (size_t start = 0; start < text->length; start += length + 1, number++) {
        const char *end = memchr(text->bytes + start, '\n', text->length - start);
        length = (end ? (size_t)(end - text->bytes) : text->length) - start;
        const char *wrong = parse_account(text->bytes, start, length, hashes);
        if (!wrong)
            continue;
        snprintf(reason, MAX_REASON, "line %zu: %s", number, wrong);
        tdestroy(*hashes, free);
        *hashes = NULL;
        return false;
    }
    return true;
}

static bool put_error(char reason[MAX_REASON])
{
    snprintf(reason, MAX_REASON, "%s", strerror(errno));
    return false;
}

/* Reads all of an open file. Behind it there is room for one account more, and a NUL. */
static bool read_text(int fd, struct text *text, char reason[MAX_REASON])
{
    struct stat file;
    ssize_t n = 0;
    if (fstat(fd, &file) < 0)
        return put_error(reason);
    size_t room = S_ISREG(file.st_mode) ? (size_t)file.st_size + 1 : 0;
    text->bytes = allocate(room + MAX_ACCOUNT);
    while (text->length < room &&
           (n = read(fd, text->bytes + text->length, room - text->length)) > 0)
        text->length += (size_t)n;
    if (n < 0)
        return put_error(reason);
    if (text->length < room)
        return true;
    snprintf(reason, MAX_REASON, room > 0 ? "it is being written" : "not a regular file");
    return false;
}

/* Reads the file and its accounts. Without O_NONBLOCK, to open a FIFO would wait. */
static bool read_accounts(const char *path, struct text *text, void **hashes,
                          char reason[MAX_REASON])
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return put_error(reason);
    bool good = read_text(fd, text, reason) && parse_accounts(text, hashes, reason);
    close(fd);
    return good;
}

/* Changes one line of the text, and leaves the others as they are. */
static void edit(struct text *text, const struct job *job, const struct account *account)
{
    if (text->length > 0 && text->bytes[text->length - 1] != '\n')
        text->bytes[text->length++] = '\n';
    char *end = text->bytes + text->length;
    if (job->task == REGISTER) {
        text->length += (size_t)sprintf(end, "%s:%s\n", job->name, job->hash);
    } else if (job->task == PASSWD) {
        memcpy(text->bytes + account->at, job->hash, HASH_SIZE);
    } else {
        char *line = text->bytes + account->at - strlen(account->name) - 1;
        char *next = text->bytes + account->at + HASH_SIZE + 1;
        memmove(line, next, (size_t)(end - next));
        text->length -= (size_t)(next - line);
    }
}

static bool write_whole(int fd, const struct text *text)
{
    ssize_t n;
    for (size_t written = 0; written < text->length; written += (size_t)n) {
        n = write(fd, text->bytes + written, text->length - written);
        if (n < 0)
            return false;
    }
    return fsync(fd) == 0;
}

/* The name of a file beside the accounts file. */
static char *name_beside(const char *path, const char *suffix)
{
    char *name = NULL;
    return checked(asprintf(&name, "%s%s", path, suffix) < 0 ? NULL : name);
}

/* Flushes to the disk which names a folder has. That the file is in its place is done already. */
static void sync_folder(const char *path)
{
    char *copy = checked(strdup(path));
    int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (folder < 0)
        return;
    fsync(folder);
    close(folder);
}

/* Puts the text in the file's place in one step (FILE-7). A file left by a crash is removed. */
static bool replace_file(const char *path, const struct text *text, char reason[MAX_REASON])
{
    char *beside = name_beside(path, ".new");
    unlink(beside);
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool written = fd >= 0 && fchmod(fd, 0600) == 0 && write_whole(fd, text);
    bool good = (written && rename(beside, path) == 0) || put_error(reason);
    if (fd >= 0)
        close(fd);
    if (good)
        sync_folder(path);
    else
        unlink(beside);
    free(beside);
    return good;
}

/* Holds the lock of the file as long as this process lives (FILE-8). */
static bool lock_accounts(const char *path, char reason[MAX_REASON])
{
    char *name = name_beside(path, ".lock");
    int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    free(name);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno != EWOULDBLOCK)
        return put_error(reason);
    snprintf(reason, MAX_REASON, "in use by another server");
    return false;
}

/* ---- The threads ---- */

/* Hashes the job's password, with the salt and cost of another hash, or new ones where NULL. */
static bool hash_password(const struct job *job, const char *like, char hash[HASH_SIZE + 1])
{
    char fresh[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data *data = allocate(sizeof *data);
    if (!like)
        like = crypt_gensalt_rn("$2y$", HASH_COST, NULL, 0, fresh, sizeof fresh);
    const char *made = like ? crypt_r(job->password, like, data) : NULL;
    bool good = made && *made != '*' && strlen(made) == HASH_SIZE;
    if (good)
        strcpy(hash, made);
    explicit_bzero(data, sizeof *data);
    free(data);
    return good;
}

/* Compares all of them, whatever differs: how long it takes tells nothing. */
static bool same_hash(const char *a, const char *b)
{
    int differences = 0;
    for (int i = 0; i < HASH_SIZE; i++)
        differences |= a[i] ^ b[i];
    return differences == 0;
}

static void do_check(struct job *job)
{
    char hash[HASH_SIZE + 1];
    bool right = hash_password(job, job->hash, hash) && same_hash(hash, job->hash);
    job->outcome = right ? DONE : REFUSED;
}

/* Whether the account is still as the job expects it: none, or the one with that hash. */
static bool is_expected(const struct job *job, const struct account *account)
{
    if (job->task == REGISTER)
        return account == NULL;
    return account && same_hash(account->hash, job->hash);
}

/* Changes the accounts as they are in the file now (FILE-5). The new hash is made first, because it
 * takes long: another program may change the file between our reading and writing. */
static enum outcome change_file(const char *path, struct text *text, struct job *job)
{
    char hash[HASH_SIZE + 1] = "";
    bool is_hashed = job->task == REGISTER || job->task == PASSWD;
    if (is_hashed && !hash_password(job, NULL, hash) && !put_error(job->reason))
        return FAILED;
    job->was_read = read_accounts(path, text, &job->hashes, job->reason);
    if (!job->was_read || job->task == RELOAD)
        return job->was_read ? DONE : FAILED;
    const struct account *account = find_account(job->hashes, job->name);
    if (!is_expected(job, account))
        return REFUSED;
    strcpy(job->hash, hash);
    edit(text, job, account);
    if (!replace_file(path, text, job->reason))
        return FAILED;
    tdestroy(job->hashes, free);
    parse_accounts(text, &job->hashes, job->reason);
    return DONE;
}

static void do_change(const char *path, struct job *job)
{
    struct text text = {0};
    job->outcome = change_file(path, &text, job);
    free(text.bytes);
}

/* A thread's life. On Linux the niceness is that of this thread alone, and only a wish. */
static void *work(void *argument)
{
    struct pool *pool = argument;
    struct job *job;
    if (!pool->path)
        setpriority(PRIO_PROCESS, 0, WORKER_NICENESS);
    while (recv(pool->theirs, &job, sizeof job, 0) == sizeof job) {
        if (pool->path)
            do_change(pool->path, job);
        else
            do_check(job);
        explicit_bzero(job->password, sizeof job->password);
        send(pool->theirs, &job, sizeof job, MSG_NOSIGNAL);
    }
    return NULL;
}

/* Starts threads that no signal interrupts: signals are the loop's. One is enough. */
static bool start_workers(struct pool *pool, int count)
{
    pthread_t thread;
    sigset_t all, before;
    int ends[2];
    TAILQ_INIT(&pool->jobs);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    pool->ours = ends[0];
    pool->theirs = ends[1];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->workers < count && (errno = pthread_create(&thread, NULL, work, pool)) == 0) {
        pthread_detach(thread);
        pool->workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool->workers > 0;
}

/* Gives the threads that are free the jobs that have waited longest. */
static void hand_out_jobs(struct pool *pool)
{
    struct job *job;
    while (pool->busy < pool->workers && (job = TAILQ_FIRST(&pool->jobs))) {
        if (send(pool->ours, &job, sizeof job, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return;
        TAILQ_REMOVE(&pool->jobs, job, in_jobs);
        job->started = true;
        pool->waiting--;
        pool->busy++;
    }
}

/* Has a thread do a job. The password is wiped where it stood. */
static struct job *add_job(struct pool *pool, void *owner, enum task task, const char *name,
                           char *password, const char *hash)
{
    struct job *job = allocate(sizeof *job);
    job->task = task;
    job->owner = owner;
    strcpy(job->name, name);
    strcpy(job->password, password);
    explicit_bzero(password, strlen(password));
    strcpy(job->hash, hash ? hash : "");
    TAILQ_INSERT_TAIL(&pool->jobs, job, in_jobs);
    pool->waiting++;
    hand_out_jobs(pool);
    return job;
}

/* Has a password compared with that of the account, which there must be. */
static struct job *check(struct accounts *accounts, void *owner, const char *name, char *password)
{
    return add_job(&accounts->checks, owner, CHECK, name, password, hash_of(accounts, name));
}

/* Has an account changed; NULL where too many changes wait (ACCT-13). */
static struct job *change(struct accounts *accounts, void *owner, enum task task, const char *name,
                          char *password)
{
    if (accounts->changes.waiting >= MAX_CHANGES)
        return NULL;
    return add_job(&accounts->changes, owner, task, name, password, hash_of(accounts, name));
}

/* Has the file read anew (FILE-4). Each change that waits reads it, too. */
static void reload(struct accounts *accounts)
{
    char none[] = "";
    if (accounts->changes.waiting < MAX_CHANGES)
        add_job(&accounts->changes, NULL, RELOAD, none, none, none);
}

static void free_job(struct job *job)
{
    tdestroy(job->hashes, free);
    explicit_bzero(job, sizeof *job);
    free(job);
}

/* The owner is gone. A job that no thread has yet is not done at all. */
static void forget(struct accounts *accounts, struct job *job)
{
    struct pool *pool = job->task == CHECK ? &accounts->checks : &accounts->changes;
    job->owner = NULL;
    if (job->started)
        return;
    TAILQ_REMOVE(&pool->jobs, job, in_jobs);
    pool->waiting--;
    free_job(job);
}

static struct job *next_result(struct pool *pool)
{
    struct job *job;
    if (recv(pool->ours, &job, sizeof job, MSG_DONTWAIT) != sizeof job)
        return NULL;
    pool->busy--;
    hand_out_jobs(pool);
    return job;
}

/*
 * A job that is done, or NULL. The accounts that it read or changed are in force then. A password
 * that is right counts only if the account still has the hash that it was for (ACCT-3).
 */
static struct job *finished(struct accounts *accounts)
{
    struct job *job = next_result(&accounts->changes);
    if (job && job->was_read) {
        void *old = accounts->hashes;
        accounts->hashes = job->hashes;
        job->hashes = old;
    } else if (!job && (job = next_result(&accounts->checks))) {
        const char *hash = hash_of(accounts, job->name);
        if (!hash || !same_hash(hash, job->hash))
            job->outcome = REFUSED;
    }
    return job;
}

static int count_processors(void)
{
    cpu_set_t processors;
    return sched_getaffinity(0, sizeof processors, &processors) == 0 ? CPU_COUNT(&processors) : 1;
}

static bool read_first(struct accounts *accounts, const char *path, char reason[MAX_REASON])
{
    struct text text = {0};
    accounts->changes.path = realpath(path, NULL);
    if (!accounts->changes.path)
        return put_error(reason);
    bool good = read_accounts(accounts->changes.path, &text, &accounts->hashes, reason);
    free(text.bytes);
    return good;
}

/* Reads and locks the file, and starts the threads, or ends the program (FILE-3, FILE-8). */
static void open_accounts(struct accounts *accounts, const char *path)
{
    char reason[MAX_REASON];
    bool good = read_first(accounts, path, reason);
    const char *cannot = good ? "use" : "read";
    good = good && lock_accounts(accounts->changes.path, reason);
    if (good && start_workers(&accounts->checks, count_processors()) &&
        start_workers(&accounts->changes, 1))
        return;
    if (good)
        put_error(reason);
    fprintf(stderr, "cannot %s accounts %s: %s\n", cannot, path, reason);
    exit(EXIT_FAILURE);
}
