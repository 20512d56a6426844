/*
 * options.h: the command line (PROG-1, PROG-4, PROG-7).
 *
 *     parse_options      gives what the words of the command line say, or ends the program
 *
 * Needs `die`, VERSION and SECOND.
 */
#define HOST         "127.0.0.1"
#define PORT         8080
#define MAX_CLIENTS  10000         /* connections; one more hears that the server is full */
#define MAX_QUEUE    (1024 * 1024) /* bytes that may wait for one user */
#define LEAST_QUEUE  4096          /* the smallest --max-queue: a few lines */
#define JOIN_SECONDS 60            /* for a good name, and its password */

struct options {
    const char *host;     /* address or name to listen on */
    long port;            /* 0: any free one */
    long max_clients;     /* LIMIT-2 */
    long max_queue;       /* LIMIT-1, in bytes */
    int64_t join_timeout; /* JOIN-8, in nanoseconds */
    bool quiet;           /* keep the room's lines off standard output */
    long rate;            /* LIMIT-5, in lines a second; 0: no limit */
    const char *log;      /* LOG-2: path of the log, or NULL */
    const char *accounts; /* FILE-1: path of the accounts file, or NULL */
    bool members_only;    /* ACCT-6 */
};

static void print_help(void)
{
    printf("usage: chat-server [OPTION]...\n\n"
           "A chat server: one room, lines of text over TCP.\n"
           "Nothing is encrypted, passwords neither. On a network that is not yours, put an\n"
           "SSH tunnel or a TLS proxy before it (README.md tells how).\n\n"
           "  --host HOST             address to listen on (default %s)\n"
           "  --port PORT             port to listen on; 0 picks a free one (default %d)\n"
           "  --max-clients N         connections at a time (default %d)\n"
           "  --max-queue BYTES       bytes that may wait for one user before it is dropped;\n"
           "                          %d or more (default %d)\n"
           "  --join-timeout SECONDS  time to give a name, and its password (default %d)\n"
           "  --quiet                 do not print what the room sees (default: print it)\n"
           "  --rate N                lines of one user taken up in a second; the others wait\n"
           "                          (default: no limit)\n"
           "  --log FILE              append what happens to FILE, a JSON object a line; SIGHUP\n"
           "                          opens it anew (default: no log)\n"
           "  --accounts FILE         names that need a password: a file as `htpasswd -B`\n"
           "                          makes it; SIGHUP reads it anew\n"
           "  --members-only          let in no other names\n"
           "  --help                  print this and exit\n"
           "  --version               print the version and exit\n\n"
           "Lines on standard input are announced to all; /help there lists its commands.\n",
           HOST, PORT, MAX_CLIENTS, LEAST_QUEUE, MAX_QUEUE, JOIN_SECONDS);
}

/* How many ASCII digits a text begins with; 0 where there are more than nine. */
static size_t count_digits(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits <= 9 ? digits : 0;
}

static long parse_number(const char *option, const char *value, long lowest, long highest)
{
    size_t digits = count_digits(value);
    long number = strtol(value, NULL, 10);
    if (digits == 0 || value[digits] != '\0' || number < lowest || number > highest)
        die(2, "bad value for %s: %s", option, value);
    return number;
}

/* Reads seconds, such as 60 or 0.25, as nanoseconds. */
static int64_t parse_seconds(const char *option, const char *value)
{
    size_t whole = count_digits(value);
    const char *end = value + whole;
    if (whole > 0 && *end == '.' && count_digits(end + 1) > 0)
        end += 1 + count_digits(end + 1);
    double seconds = strtod(value, NULL);
    if (whole == 0 || *end != '\0' || seconds <= 0)
        die(2, "bad value for %s: %s", option, value);
    return (int64_t)(seconds * SECOND);
}

/* The value that a word gives to an option, behind `=` or as the next word; NULL where the word is
 * another option. */
static const char *value_of(char **word, const char *option)
{
    size_t length = strlen(option);
    if (strncmp(*word, option, length) == 0 && (*word)[length] == '=')
        return *word + length + 1;
    if (strcmp(*word, option) != 0)
        return NULL;
    if (!word[1])
        die(2, "no value for %s", option);
    return word[1];
}

/* Reads an option that has a value; gives its last word. */
static char **set_option(struct options *o, char **word)
{
    const char *value;
    if ((value = value_of(word, "--host")))
        o->host = value;
    else if ((value = value_of(word, "--port")))
        o->port = parse_number("--port", value, 0, 65535);
    else if ((value = value_of(word, "--max-clients")))
        o->max_clients = parse_number("--max-clients", value, 1, LONG_MAX);
    else if ((value = value_of(word, "--max-queue")))
        o->max_queue = parse_number("--max-queue", value, LEAST_QUEUE, LONG_MAX);
    else if ((value = value_of(word, "--join-timeout")))
        o->join_timeout = parse_seconds("--join-timeout", value);
    else if ((value = value_of(word, "--rate")))
        o->rate = parse_number("--rate", value, 1, LONG_MAX);
    else if ((value = value_of(word, "--log")))
        o->log = value;
    else if ((value = value_of(word, "--accounts")))
        o->accounts = value;
    else
        die(2, "unknown argument: %s (--help lists all options)", *word);
    return value == word[1] ? word + 1 : word;
}

/* What holds for the options together, and for this build. */
static void check_options(const struct options *options)
{
    if (*options->host == '\0' || strcmp(options->host, "*") == 0)
        die(2, "bad value for --host: %s", options->host);
    if (options->members_only && !options->accounts)
        die(2, "--members-only needs --accounts");
#ifndef ACCOUNTS
    if (options->accounts)
        die(2, "--accounts needs a build with accounts: "
               "gcc -DACCOUNTS -o chat_server server.c -lcrypt -pthread");
#endif
}

/* Reads the command line; the first word that asks for help or is wrong ends the program. */
static struct options parse_options(char **word)
{
    struct options options = {.host = HOST,
                              .port = PORT,
                              .max_clients = MAX_CLIENTS,
                              .max_queue = MAX_QUEUE,
                              .join_timeout = JOIN_SECONDS * SECOND};
    for (; *word; word++) {
        if (strcmp(*word, "--help") == 0) {
            print_help();
            exit(EXIT_SUCCESS);
        } else if (strcmp(*word, "--version") == 0) {
            puts("chat-server " VERSION " (C, protocol 1)");
            exit(EXIT_SUCCESS);
        } else if (strcmp(*word, "--quiet") == 0) {
            options.quiet = true;
        } else if (strcmp(*word, "--members-only") == 0) {
            options.members_only = true;
        } else {
            word = set_option(&options, word);
        }
    }
    check_options(&options);
    return options;
}
