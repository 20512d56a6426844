/*
 * accounts.h: the file, the passwords, and the worker threads that do the slow work.
 *
 * As many workers as there are processors check passwords. They have a low priority. One more
 * worker, the file worker, is the only one that accesses the file after the start, so checks and
 * changes do not wait for each other (ACCT-13). A worker knows only its job, and stores the result
 * in it. The loop calls `finished` when `checks.ours` or `changes.ours` is readable.
 *
 * Exports: open_accounts, hash_of, add_job, finished, forget, free_job. Requires: allocate,
 * checked, die, compare_names, name_is_valid, MAX_NAME, MAX_PASSWORD.
 */
#include <crypt.h>
#include <libgen.h>
#include <pthread.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/stat.h>

#define HASH_SIZE       60  /* characters of a bcrypt hash */
#define HASH_COST       10  /* of new hashes: each increment doubles the time of a check */
#define WORKER_NICENESS 15  /* of the workers that check passwords: all other threads go first */
#define MAX_CHANGES     100 /* changes that wait for the file worker */
#define MAX_REASON      200 /* bytes of an error message */

enum task { CHECK, RELOAD, REGISTER, PASSWD, UNREGISTER };

enum outcome {
    DONE,    /* the password is right, or the account was changed */
    REFUSED, /* the password is wrong, or the account is not as it was when the job was made */
    FAILED,  /* the file is bad, or cannot be written; `reason` says why */
};

struct account {
    char name[MAX_NAME + 1]; /* the first member, for compare_names */
    char hash[HASH_SIZE + 1];
};

/* The input of a worker, and its result. */
struct job {
    enum task task;
    void *owner; /* the user that waits for it; NULL where there is none (any more) */
    bool started;
    struct account account; /* with its hash when the job was made ("": none); then the new one */
    char password[MAX_PASSWORD + 1];
    enum outcome outcome;
    char reason[MAX_REASON];
    bool was_read;     /* the file was read, and is good */
    struct stat stamp; /* of the file when it was read */
    void *hashes;      /* all accounts after the job */
    TAILQ_ENTRY(job) in_jobs;
};

/* Workers of one kind. They receive jobs from a socket, not from a queue with a mutex: a worker of
 * low priority that is suspended while it holds a mutex would delay the loop. */
struct pool {
    const char *path;           /* of the file that they change; NULL where they check passwords */
    int ours, theirs;           /* the two ends of the socket */
    int idle;                   /* workers without a job */
    int waiting;                /* length of `jobs` */
    TAILQ_HEAD(jobs, job) jobs; /* that no worker has yet */
    struct jobs started;        /* that a worker has; listed, so that leak checkers find them */
};

/* The accounts in force, and the interface to the workers that check and change them. */
struct accounts {
    void *hashes;        /* tsearch tree of struct account, by name */
    struct pool checks;  /* as many workers as there are processors */
    struct pool changes; /* the file worker */
};

static struct account *find_account(void *hashes, const char *name)
{
    struct account **found = tfind(name, &hashes, compare_names);
    return found ? *found : NULL;
}

/* Returns the hash of an account, or NULL where the name is not registered. */
static const char *hash_of(const struct accounts *accounts, const char *name)
{
    const struct account *account = find_account(accounts->hashes, name);
    return account ? account->hash : NULL;
}

static void add_account(void **hashes, const char *name, const char *hash)
{
    struct account *account = allocate(sizeof *account);
    strcpy(account->name, name);
    strcpy(account->hash, hash);
    checked(tsearch(account, hashes, compare_names));
}

/* ---- The file ---- */

/* Whether a text is a bcrypt hash that FILE-1 allows. */
static bool is_hash(const char *text)
{
    char cost[3];
    int length = 0;
    sscanf(text, "$2%*1[aby]$%2[0-9]$%*53[./A-Za-z0-9]%n", cost, &length);
    return length == HASH_SIZE && text[length] == '\0' && atoi(cost) >= 4 && atoi(cost) <= 17;
}

/* Adds the account of a line to the tree; returns the error, or NULL (FILE-1, FILE-2). */
static const char *parse_account(char *line, size_t length, void **hashes)
{
    char *colon = strchr(line, ':');
    if (length == 0 || *line == '#')
        return NULL;
    if (!colon || strlen(line) != length)
        return "not NAME:HASH";
    *colon = '\0';
    if (!name_is_valid(line))
        return "invalid name";
    if (!is_hash(colon + 1))
        return "not a bcrypt hash";
    if (find_account(*hashes, line))
        return "name given twice";
    add_account(hashes, line, colon + 1);
    return NULL;
}

/* Reads all accounts of an open file; false, with the reason, where that fails. */
static bool parse_accounts(FILE *file, void **hashes, char reason[MAX_REASON])
{
    const char *wrong = NULL;
    char *line = NULL;
    size_t room = 0, number = 0;
    ssize_t length;
    while (!wrong && (length = getline(&line, &room, file)) > 0) {
        number++;
        if (line[length - 1] == '\n')
            line[--length] = '\0';
        wrong = parse_account(line, (size_t)length, hashes);
    }
    free(line);
    if (wrong)
        snprintf(reason, MAX_REASON, "line %zu: %s", number, wrong);
    else if (!feof(file))
        snprintf(reason, MAX_REASON, "%s", strerror(errno));
    return !wrong && feof(file);
}

/* Reads the accounts, and returns the open file; NULL, with the reason, where that fails. It takes
 * the stamp first, to notice a change during the reading. */
static FILE *read_accounts(const char *path, void **hashes, char reason[MAX_REASON],
                           struct stat *stamp)
{
    bool is_special = stat(path, stamp) == 0 && !S_ISREG(stamp->st_mode);
    FILE *file = is_special ? NULL : fopen(path, "re"); /* opening a FIFO would wait */
    if (file && parse_accounts(file, hashes, reason))
        return file;
    if (file)
        fclose(file);
    else
        snprintf(reason, MAX_REASON, "%s", is_special ? "not a regular file" : strerror(errno));
    return NULL;
}

/* Writes the new file: with one account changed, added at the end, or removed. */
static bool write_changed(FILE *old, FILE *changed, const struct job *job)
{
    const struct account *account = &job->account;
    size_t name_length = strlen(account->name), room = 0;
    char *line = NULL;
    ssize_t length;
    if (fseek(old, 0, SEEK_SET) != 0)
        return false;
    while ((length = getline(&line, &room, old)) > 0) {
        bool is_own =
            strncasecmp(line, account->name, name_length) == 0 && line[name_length] == ':';
        if (is_own && job->task == PASSWD)
            fprintf(changed, "%.*s:%s\n", (int)name_length, line, account->hash);
        if (is_own)
            continue;
        fwrite(line, 1, (size_t)length, changed);
        if (line[length - 1] != '\n')
            fputc('\n', changed);
    }
    free(line);
    if (job->task == REGISTER)
        fprintf(changed, "%s:%s\n", account->name, account->hash);
    return feof(old) && fflush(changed) == 0 && !ferror(changed) && fsync(fileno(changed)) == 0;
}

/* Returns the path with a suffix. */
static char *name_beside(const char *path, const char *suffix)
{
    char *name = NULL;
    return checked(asprintf(&name, "%s%s", path, suffix) < 0 ? NULL : name);
}

/* Whether the file is unchanged since it was read (FILE-5). */
static bool is_known(const char *path, const struct stat *stamp)
{
    struct stat now;
    return stat(path, &now) == 0 && now.st_dev == stamp->st_dev && now.st_ino == stamp->st_ino &&
           now.st_size == stamp->st_size && now.st_ctim.tv_sec == stamp->st_ctim.tv_sec &&
           now.st_ctim.tv_nsec == stamp->st_ctim.tv_nsec;
}

/* Writes a new file beside the old one, flushes it to disk, and renames it (FILE-7). */
static bool replace_file(const char *link, FILE *old, struct job *job)
{
    char *path = realpath(link, NULL);
    char *beside = name_beside(path ? path : link, ".new");
    unlink(beside); /* it may be left from a crash */
    FILE *changed = path ? fopen(beside, "wxe") : NULL;
    bool is_written =
        changed && fchmod(fileno(changed), 0600) == 0 && write_changed(old, changed, job);
    bool is_kept = !is_written || is_known(path, &job->stamp);
    bool good = is_written && is_kept && rename(beside, path) == 0;
    if (!good) {
        snprintf(job->reason, MAX_REASON, "%s",
                 is_kept ? strerror(errno) : "another program has changed it");
        unlink(beside);
    }
    if (changed)
        fclose(changed);
    if (good) { /* flushes the new name; an error does not undo the change */
        int folder = open(dirname(beside), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fsync(folder);
        close(folder);
    }
    free(beside);
    free(path);
    return good;
}

/* Locks the file for the lifetime of this process (FILE-8). */
static bool lock_accounts(const char *path)
{
    char *name = name_beside(path, ".lock");
    int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    free(name);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* ---- The workers ---- */

/* Hashes the job's password, with salt and cost of the hash `like`, or new ones for NULL. */
static bool hash_password(const struct job *job, const char *like, char hash[HASH_SIZE + 1])
{
    char fresh[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data data = {0};
    if (!like)
        like = crypt_gensalt_rn("$2y$", HASH_COST, NULL, 0, fresh, sizeof fresh);
    const char *made = like ? crypt_rn(job->password, like, &data, sizeof data) : NULL;
    bool good = made && strlen(made) == HASH_SIZE;
    if (good)
        strcpy(hash, made);
    explicit_bzero(&data, sizeof data);
    return good;
}

/* Compares two hashes in constant time, so that the time tells nothing about them. */
static bool same_hash(const char *a, const char *b)
{
    int differences = 0;
    for (int i = 0; i < HASH_SIZE; i++)
        differences |= a[i] ^ b[i];
    return differences == 0;
}

static enum outcome do_check(const struct job *job)
{
    char hash[HASH_SIZE + 1];
    bool is_right =
        hash_password(job, job->account.hash, hash) && same_hash(hash, job->account.hash);
    return is_right ? DONE : REFUSED;
}

/* Changes the file. If the account is not as it was when the job was made, nothing changes. */
static enum outcome change_file(const char *path, FILE *file, struct job *job, const char *hash)
{
    struct account *account = find_account(job->hashes, job->account.name);
    bool is_expected =
        job->task == REGISTER ? !account : account && same_hash(account->hash, job->account.hash);
    if (!is_expected)
        return REFUSED;
    strcpy(job->account.hash, hash);
    if (!replace_file(path, file, job))
        return FAILED;
    if (account)
        tdelete(account, &job->hashes, compare_names);
    free(account);
    if (job->task != UNREGISTER)
        add_account(&job->hashes, job->account.name, hash);
    return DONE;
}

/* Does a job of the file worker. It reads the file last, because hashing takes long, and another
 * program may change the file in the meantime (FILE-5). */
static enum outcome do_change(const char *path, struct job *job)
{
    char hash[HASH_SIZE + 1] = "";
    bool is_hashed = job->task == REGISTER || job->task == PASSWD;
    if (is_hashed && !hash_password(job, NULL, hash)) {
        snprintf(job->reason, MAX_REASON, "%s", strerror(errno));
        return FAILED;
    }
    FILE *file = read_accounts(path, &job->hashes, job->reason, &job->stamp);
    if (!file)
        return FAILED;
    job->was_read = true;
    enum outcome outcome = job->task == RELOAD ? DONE : change_file(path, file, job, hash);
    fclose(file);
    return outcome;
}

/* Does one job after the other. This is a thread, and on Linux its priority is its own. */
static void *work(void *argument)
{
    struct pool *pool = argument;
    struct job *job;
    if (!pool->path)
        setpriority(PRIO_PROCESS, 0, WORKER_NICENESS);
    while (recv(pool->theirs, &job, sizeof job, 0) == sizeof job) {
        job->outcome = pool->path ? do_change(pool->path, job) : do_check(job);
        explicit_bzero(job->password, sizeof job->password);
        send(pool->theirs, &job, sizeof job, MSG_NOSIGNAL);
    }
    return NULL;
}

/* Starts `count` workers, or fewer; false where none could be started. */
static bool start_workers(struct pool *pool, int count)
{
    pthread_t thread;
    int ends[2];
    TAILQ_INIT(&pool->jobs);
    TAILQ_INIT(&pool->started);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    pool->ours = ends[0];
    pool->theirs = ends[1];
    while (pool->idle < count && (errno = pthread_create(&thread, NULL, work, pool)) == 0) {
        pthread_detach(thread);
        pool->idle++;
    }
    return pool->idle > 0;
}

static struct pool *pool_of(struct accounts *accounts, enum task task)
{
    return task == CHECK ? &accounts->checks : &accounts->changes;
}

/* Gives the oldest jobs to the idle workers. */
static void hand_out_jobs(struct pool *pool)
{
    struct job *job;
    while (pool->idle > 0 && (job = TAILQ_FIRST(&pool->jobs)) &&
           send(pool->ours, &job, sizeof job, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
        TAILQ_REMOVE(&pool->jobs, job, in_jobs);
        TAILQ_INSERT_TAIL(&pool->started, job, in_jobs);
        job->started = true;
        pool->waiting--;
        pool->idle--;
    }
}

/* Queues a job for a worker; returns NULL where too many changes are queued (ACCT-13). It erases
 * the password in the caller's memory. */
static struct job *add_job(struct accounts *accounts, void *owner, enum task task, const char *name,
                           char *password)
{
    struct pool *pool = pool_of(accounts, task);
    const char *hash = hash_of(accounts, name);
    if (task != CHECK && pool->waiting >= MAX_CHANGES)
        return NULL;
    struct job *job = allocate(sizeof *job);
    job->task = task;
    job->owner = owner;
    strcpy(job->account.name, name);
    strcpy(job->account.hash, hash ? hash : "");
    strcpy(job->password, password);
    explicit_bzero(password, strlen(password));
    TAILQ_INSERT_TAIL(&pool->jobs, job, in_jobs);
    pool->waiting++;
    hand_out_jobs(pool);
    return job;
}

static void free_job(struct job *job)
{
    tdestroy(job->hashes, free);
    explicit_bzero(job, sizeof *job);
    free(job);
}

/* Cancels a job, if no worker has begun it; otherwise forgets only its owner. */
static void forget(struct accounts *accounts, struct job *job)
{
    struct pool *pool = pool_of(accounts, job->task);
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
    TAILQ_REMOVE(&pool->started, job, in_jobs);
    pool->idle++;
    hand_out_jobs(pool);
    return job;
}

/* Returns a finished job, or NULL, and puts its accounts in force. A right password counts only if
 * the account still has the hash that was checked (ACCT-3). */
static struct job *finished(struct accounts *accounts)
{
    struct job *job = next_result(&accounts->changes);
    if (job && job->was_read) {
        void *old = accounts->hashes;
        accounts->hashes = job->hashes;
        job->hashes = old;
    } else if (!job && (job = next_result(&accounts->checks))) {
        const char *hash = hash_of(accounts, job->account.name);
        if (!hash || !same_hash(hash, job->account.hash))
            job->outcome = REFUSED;
    }
    return job;
}

/* Reads the file at the start, or ends the program (FILE-3). */
static void load_accounts(struct accounts *accounts, const char *path)
{
    char reason[MAX_REASON];
    struct stat stamp;
    tdestroy(accounts->hashes, free);
    accounts->hashes = NULL;
    FILE *file = read_accounts(path, &accounts->hashes, reason, &stamp);
    if (!file)
        die(EXIT_FAILURE, "cannot read accounts %s: %s", path, reason);
    fclose(file);
}

/* Reads and locks the file, and starts the workers, or ends the program (FILE-3, FILE-8). It reads
 * the file before it locks it, so that a bad file gets no lock file, and again afterwards, because
 * another server may have changed it before the lock. */
static void open_accounts(struct accounts *accounts, const char *path)
{
    cpu_set_t processors;
    load_accounts(accounts, path);
    char *real = realpath(path, NULL);
    if (!real || !lock_accounts(real))
        die(EXIT_FAILURE, "cannot use accounts %s: %s", path,
            errno == EWOULDBLOCK ? "in use by another server" : strerror(errno));
    free(real);
    load_accounts(accounts, path);
    accounts->changes.path = path;
    bool is_counted = sched_getaffinity(0, sizeof processors, &processors) == 0;
    if (!start_workers(&accounts->checks, is_counted ? CPU_COUNT(&processors) : 1) ||
        !start_workers(&accounts->changes, 1))
        die(EXIT_FAILURE, "cannot start: %s", strerror(errno));
}
