/*
 * options.h: the command line (PROG-2, PROG-4 to PROG-8).
 *
 * Exports: struct options, parse_options.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION  "0.1.0"
#define MAX_NAME 1024 /* bytes of --name (PROG-7) */

/* The values of all options. */
struct options {
    const char *host;
    const char *port;
    const char *name; /* answers the prompt for the name, or NULL */
    int retries;
    double retry_delay; /* seconds */
};

static const char usage[] = "usage: chat-client [OPTION]...\n";

static const char help[] =
    "\n"
    "A chat client. It shows what the server sends, and sends each line of its input.\n"
    "Nothing is encrypted, not even passwords. On a network that is not yours, use an SSH tunnel\n"
    "or a TLS proxy (see docs/chat.md).\n"
    "\n"
    "  --host HOST            host of the server (default localhost)\n"
    "  --port PORT            port of the server (default 8080)\n"
    "  --name NAME            answer to the server's prompt for a name (default: you answer it)\n"
    "  --retries N            attempts to reconnect after the connection was lost; 0 for none\n"
    "                         (default 10)\n"
    "  --retry-delay SECONDS  delay before the first attempt; it doubles each time, up to 30 s\n"
    "                         (default 1)\n"
    "  --help                 print this and exit\n"
    "  --version              print the version and exit\n"
    "\n"
    "In the chat, /help lists the commands. Ctrl+C ends the client. Ctrl+D ends it after "
    "everything\n"
    "was sent.\n"
#ifdef LINE_EDITING
    "On a terminal, lines can be edited: Up recalls earlier lines, and TAB completes commands and\n"
    "names.\n";
#else
    "To edit lines, build with: gcc -DLINE_EDITING -o chat_client client.c -lreadline\n";
#endif

/* Prints what is wrong with the command line, and ends the program. */
static _Noreturn void __attribute__((format(printf, 1, 2))) usage_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%schat-client: error: ", usage);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

/* Returns the text after a number, which has one to nine ASCII digits, or NULL. */
static const char *skip_number(const char *value)
{
    size_t digits = strspn(value, "0123456789");
    return digits >= 1 && digits <= 9 ? value + digits : NULL;
}

/* Sets an option, and *good to whether the value is good; false where there is no such option. */
static bool set_value(struct options *o, const char *name, size_t length, const char *value,
                      bool *good)
{
#define IS(option) (length == sizeof option - 1 && strncmp(name, option, length) == 0)
    const char *end = skip_number(value);
    long number = strtol(value, NULL, 10);
    if (IS("--host")) {
        o->host = value;
        *good = *value && strcmp(value, "*") != 0;
    } else if (IS("--port")) {
        o->port = value;
        *good = end && !*end && number >= 1 && number <= 65535;
    } else if (IS("--name")) { /* must be one line; the server decides whether it is valid */
        o->name = value;
        *good = !strpbrk(value, "\r\n") && strlen(value) <= MAX_NAME;
    } else if (IS("--retries")) {
        o->retries = (int)number;
        *good = end && !*end;
    } else if (IS("--retry-delay")) {
        o->retry_delay = strtod(value, NULL);
        end = end && *end == '.' ? skip_number(end + 1) : end;
        *good = end && !*end && o->retry_delay > 0;
    } else {
        return false;
    }
    return true;
#undef IS
}

/* Reads an option with its value, which is after `=` or in the next word; returns its last word. */
static char **set_option(struct options *options, char **word)
{
    const char *name = *word;
    size_t length = strcspn(name, "=");
    bool joined = name[length] == '=', good;
    const char *value = joined ? name + length + 1 : word[1];
    if (!set_value(options, name, length, value ? value : "", &good))
        usage_error("not an option: %s", name);
    if (!value)
        usage_error("no value for %s", name);
    if (!good)
        usage_error("bad value: %.*s%s%s", (int)length, name, joined ? "=" : " ", value);
    return joined ? word : word + 1;
}

/* Reads the command line. The first error, --help or --version ends the program. */
static void parse_options(struct options *options, char **word)
{
    *options = (struct options){"localhost", "8080", NULL, 10, 1};
    for (; *word; word++) {
        if (strcmp(*word, "--help") == 0) {
            printf("%s%s", usage, help);
            exit(EXIT_SUCCESS);
        } else if (strcmp(*word, "--version") == 0) {
            puts("chat-client " VERSION " (C, protocol 1)");
            exit(EXIT_SUCCESS);
        } else {
            word = set_option(options, word);
        }
    }
}

#endif
