// Package options reads the client's command line (PROG-2, PROG-4 to PROG-8).
//
// It offers ParseOptions, and Options, what the command line says. A command line that is wrong, or
// asks for help or the version, ends the program here.
package options

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

const version = "0.1.0"

const usage = `usage: chat-client [--host HOST] [--port PORT] [--name NAME]
                   [--retries N] [--retry-delay SECONDS] [--help] [--version]
`

const help = usage + `
A chat client. It shows what the server sends and sends each line of its input.
Nothing is encrypted, passwords neither. On a network that is not yours, use an SSH tunnel
or a TLS proxy (see README.md).

  --host HOST            where the server is (default localhost)
  --port PORT            its port (default 8080)
  --name NAME            the screen name to give (default: be asked for it)
  --retries N            how often a connection that was lost is tried again; 0: not at all
                         (default 10)
  --retry-delay SECONDS  before the first of these tries; it doubles with each, up to 30 s
                         (default 1)
  --help                 print this and exit
  --version              print the version and exit

In the chat, /help lists the commands. Ctrl+C ends the client; so does, once all is sent, Ctrl+D.
On a terminal a line can be edited; Up brings back those typed before, and TAB completes
commands and names.
`

// Options is what the command line says.
type Options struct {
	Host       string
	Port       int
	Name       string // to answer the first prompt with; empty: the user is asked
	HasName    bool   // ... also with an empty name
	Retries    int
	RetryDelay float64 // seconds
}

// Address writes where the server is; a host of IPv6 in brackets.
func (o *Options) Address() string {
	return net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
}

// usageError ends the program for a command line that is wrong.
func usageError(message string) {
	fmt.Fprintf(os.Stderr, "%schat-client: error: %s\n", usage, message)
	os.Exit(2)
}

// answer prints what --help or --version asks for.
func answer(text string) {
	fmt.Print(text)
	os.Exit(0)
}

var (
	wholeNumber   = regexp.MustCompile(`^[0-9]{1,9}$`)
	decimalNumber = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9})?$`)
)

// setters has what sets each option that takes a value; it reports whether the value is good. A
// name is for the server to judge, if it is one line.
var setters = map[string]func(o *Options, value string) bool{
	"--host": func(o *Options, value string) bool {
		o.Host = value
		return value != "" && value != "*"
	},
	"--port": func(o *Options, value string) bool {
		o.Port, _ = strconv.Atoi(value)
		return wholeNumber.MatchString(value) && 1 <= o.Port && o.Port <= 65535
	},
	"--name": func(o *Options, value string) bool {
		o.Name, o.HasName = value, true
		return !strings.ContainsFunc(value, unicode.IsControl)
	},
	"--retries": func(o *Options, value string) bool {
		o.Retries, _ = strconv.Atoi(value)
		return wholeNumber.MatchString(value)
	},
	"--retry-delay": func(o *Options, value string) bool {
		o.RetryDelay, _ = strconv.ParseFloat(value, 64)
		return decimalNumber.MatchString(value) && o.RetryDelay > 0
	},
}

// ParseOptions reads the command line. The first word that asks for help or is wrong ends the
// program.
func ParseOptions(words []string) Options {
	o := Options{Host: "localhost", Port: 8080, Retries: 10, RetryDelay: 1}
	for ; len(words) > 0; words = words[1:] {
		word := words[0]
		name, value, joined := strings.Cut(word, "=")
		set, known := setters[name]
		switch {
		case word == "--help":
			answer(help)
		case word == "--version":
			answer("chat-client " + version + " (Go, protocol 1)\n")
		case !known && strings.HasPrefix(word, "-"):
			usageError("unknown option: " + word)
		case !known:
			usageError("not an option: " + word)
		case !joined && len(words) == 1:
			usageError("no value for " + name)
		case !joined:
			words = words[1:]
			value = words[0]
			word += " " + value
		}
		if !set(&o, value) {
			usageError("bad value: " + word)
		}
	}
	return o
}
