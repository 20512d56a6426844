// Package options reads the command line (PROG-2, PROG-4 to PROG-8).
//
// It exports Options and ParseOptions.
package options

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
)

const (
	version = "0.1.0"
	maxName = 1024 // bytes of --name (PROG-7)
)

const usage = "usage: chat-client [OPTION]...\n"

const help = usage + `
A chat client. It shows what the server sends, and sends each line of its input.
Nothing is encrypted, not even passwords. On a network that is not yours, use an SSH tunnel
or a TLS proxy (see docs/chat.md).

  --host HOST            host of the server (default localhost)
  --port PORT            port of the server (default 8080)
  --name NAME            answer to the server's prompt for a name (default: you answer it)
  --retries N            attempts to reconnect after the connection was lost; 0 for none
                         (default 10)
  --retry-delay SECONDS  delay before the first attempt; it doubles each time, up to 30 s
                         (default 1)
  --help                 print this and exit
  --version              print the version and exit

In the chat, /help lists the commands. Ctrl+C ends the client. Ctrl+D ends it after everything
was sent.
On a terminal, lines can be edited: Up recalls earlier lines, and TAB completes commands and
names.
`

// Options are the values of all options.
type Options struct {
	Host       string
	Port       int
	Name       string // answers the prompt for the name, if HasName
	HasName    bool
	Retries    int
	RetryDelay float64 // seconds
}

// Address returns the host and port of the server, with an IPv6 address in brackets (CLIENT-4).
func (o *Options) Address() string {
	return net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
}

// usageError prints what is wrong with the command line, and ends the program.
func usageError(message string) {
	fmt.Fprintf(os.Stderr, "%schat-client: error: %s\n", usage, message)
	os.Exit(2)
}

// answer prints a text, and ends the program.
func answer(text string) {
	fmt.Print(text)
	os.Exit(0)
}

var (
	wholeNumber   = regexp.MustCompile(`^[0-9]{1,9}$`)
	decimalNumber = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9})?$`)
)

// setters set the options that take a value, and return whether the value is good. A name must be
// one line; the server decides whether it is valid.
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
		return len(value) <= maxName && !strings.ContainsAny(value, "\r\n")
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

// ParseOptions reads the command line. The first error, --help or --version ends the program.
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
