/*
 * options.h: the command line of the client (PROG-2, PROG-4 to PROG-8).
 *
 * Offers `struct options` and `parse_options`, which returns only for a good command line.
 * Needs nothing.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION  "0.1.0"
#define MAX_NAME (16 * 1024) /* bytes of --name */

struct options {
    const char *host;
    const char *port; /* as typed, once it is known to be a number */
    const char *name; /* the answer to the prompt for the name, or NULL: the user is asked */
    int retries;
    double retry_delay;
};

static const char usage[] =
    "usage: chat-client [--host HOST] [--port PORT] [--name NAME]\n"
    "                   [--retries N] [--retry-delay SECONDS] [--help] [--version]\n";

static const char help[] =
    "\n"
    "A chat client. It shows what the server sends and sends each line of its input.\n"
    "Nothing is encrypted, passwords neither. On a network that is not yours, use an SSH tunnel\n"
    "or a TLS proxy (README.md explains how).\n\n"
    "  --host HOST            where the server is (default localhost)\n"
    "  --port PORT            its port (default 8080)\n"
    "  --name NAME            the screen name to give (default: the user is asked)\n"
    "  --retries N            how often a lost connection is tried again; 0: never (default 10)\n"
    "  --retry-delay SECONDS  before the first of these tries; it doubles with each, up to 30 s\n"
    "                         (default 1)\n"
    "  --help                 print this and exit\n"
    "  --version              print the version and exit\n\n"
    "In the chat, /help lists the commands. Ctrl+C ends the client; so does Ctrl+D, once all is\n"
    "sent.\n"
#ifdef LINE_EDITING
    "On a terminal a line can be edited; Up brings back those typed before.\n";
#else
    "To edit lines, build it so: gcc -DLINE_EDITING -o chat_client client.c -lreadline\n";
#endif

/* Ends the program for a bad command line. */
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

/* Goes past a number, which is one to nine ASCII digits; gives what stands behind it, or NULL. */
static const char *skip_number(const char *value)
{
    size_t digits = strspn(value, "0123456789");
    return digits >= 1 && digits <= 9 ? value + digits : NULL;
}

/* Sets the option of this name and length; *good says whether its value is. False: no such one. */
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
    } else if (IS("--name")) { /* the server judges whether it is a good one */
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

/* Reads an option and its value, which stands behind `=` or is the next word; gives the last. */
static char **set_option(struct options *options, char **word)
{
    const char *name = *word;
    size_t length = strcspn(name, "=");
    bool joined = name[length] == '=', good;
    const char *value = joined ? name + length + 1 : word[1];
    if (!set_value(options, name, length, value ? value : "", &good))
        usage_error("%s: %s", *name == '-' ? "unknown option" : "not an option", name);
    if (!value)
        usage_error("no value for %s", name);
    if (!good)
        usage_error("bad value: %.*s%s%s", (int)length, name, joined ? "=" : " ", value);
    return joined ? word : word + 1;
}

/* Reads the command line; the first word that asks for help or is wrong ends the program. */
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
