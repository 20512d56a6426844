// Package options reads the command line (PROG-1, PROG-4 to PROG-8).
//
// It exports Options and ParseOptions.
package options

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const version = "0.1.0"

// Options are the values of all options.
type Options struct {
	Host        string
	Port        int
	MaxClients  int // connections
	MaxQueue    int // bytes in the queue of one user
	JoinTimeout time.Duration
	Rate        int // lines a second; 0 for no limit
	Log         string
	HasLog      bool
	Accounts    string
	HasAccounts bool
	MembersOnly bool
	Quiet       bool
}

var defaults = Options{
	Host:        "127.0.0.1",
	Port:        8080,
	MaxClients:  10000,
	MaxQueue:    1024 * 1024,
	JoinTimeout: 60 * time.Second,
}

const usage = "usage: chat-server [OPTION]...\n"

var help = fmt.Sprintf(usage+`
A chat server: one room, lines of text over TCP.
Nothing is encrypted, not even passwords. On a network that is not yours, put an SSH tunnel
or a TLS proxy before it (see docs/chat.md).

  --host HOST             address to listen on (default %s)
  --port PORT             port to listen on; 0 for any free one (default %d)
  --max-clients N         limit of connections (default %d)
  --max-queue BYTES       limit of unsent bytes for one user, who is dropped beyond it;
                          4096 or more (default %d)
  --join-timeout SECONDS  time to give a name and its password (default %g)
  --rate N                limit of lines a second from one user; further ones wait
                          (default: no limit)
  --log FILE              append events to FILE, as lines of JSON; SIGHUP reopens it
                          (default: no log)
  --accounts FILE         names with passwords, a file as "htpasswd -B" makes it;
                          SIGHUP reads it again (default: no accounts)
  --members-only          only registered names may join
  --quiet                 do not print the lines of the room
  --help                  print this and exit
  --version               print the version and exit

Lines on standard input are announced to all; /help there lists the operator's commands.
`, defaults.Host, defaults.Port, defaults.MaxClients, defaults.MaxQueue, defaults.JoinTimeout.Seconds())

var (
	wholeNumber   = regexp.MustCompile(`^[0-9]{1,9}$`)
	decimalNumber = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9})?$`)
)

const maxNumber = 999_999_999

// ParseOptions reads the command line. An error (by `fail`), --help or --version ends the program.
func ParseOptions(words []string, fail func(status int, message string)) Options {
	wrong := func(problem string) { fail(2, usage+"chat-server: error: "+problem+"\n") }
	o := defaults
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch word {
		case "--help":
			fmt.Print(help)
			os.Exit(0)
		case "--version":
			fmt.Printf("chat-server %s (Go, protocol 1)\n", version)
			os.Exit(0)
		case "--members-only":
			o.MembersOnly = true
		case "--quiet":
			o.Quiet = true
		default:
			words = setOption(&o, word, words, wrong)
		}
	}
	if o.MembersOnly && !o.HasAccounts {
		wrong("--members-only needs --accounts")
	}
	return o
}

// setOption sets an option that takes a value, and returns the words after it.
func setOption(o *Options, word string, rest []string, wrong func(problem string)) []string {
	name, value, isJoined := strings.Cut(word, "=")
	set, isKnown := setters[name]
	if !isKnown {
		wrong("unknown option: " + word)
	}
	if !isJoined && len(rest) == 0 {
		wrong("no value for " + word)
	}
	if !isJoined {
		value, rest = rest[0], rest[1:]
		word += " " + value
	}
	if !set(o, value) {
		wrong("bad value: " + word)
	}
	return rest
}

// setters set the options that take a value, and return whether the value is good.
var setters = map[string]func(o *Options, value string) bool{
	"--host":         func(o *Options, v string) bool { o.Host = v; return v != "" && v != "*" },
	"--port":         func(o *Options, v string) bool { return setWhole(&o.Port, v, 0, 65535) },
	"--max-clients":  func(o *Options, v string) bool { return setWhole(&o.MaxClients, v, 1, maxNumber) },
	"--max-queue":    func(o *Options, v string) bool { return setWhole(&o.MaxQueue, v, 4096, maxNumber) },
	"--join-timeout": func(o *Options, v string) bool { return setSeconds(&o.JoinTimeout, v) },
	"--rate":         func(o *Options, v string) bool { return setWhole(&o.Rate, v, 1, maxNumber) },
	"--log":          func(o *Options, v string) bool { o.Log, o.HasLog = v, true; return true },
	"--accounts":     func(o *Options, v string) bool { o.Accounts, o.HasAccounts = v, true; return true },
}

// setWhole reads a whole number, and returns whether it is good.
func setWhole(target *int, text string, low, high int) bool {
	n, _ := strconv.Atoi(text)
	*target = n
	return wholeNumber.MatchString(text) && low <= n && n <= high
}

// setSeconds reads a time above 0, and returns whether it is good.
func setSeconds(target *time.Duration, text string) bool {
	*target, _ = time.ParseDuration(text + "s")
	return decimalNumber.MatchString(text) && *target > 0
}
