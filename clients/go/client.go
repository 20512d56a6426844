// Command client is a chat client for a terminal or a pipe. PROTOCOL.md is its contract.
//
//	go run client.go                connects to localhost:8080
//	go run client.go --help         tells the rest
//
// The two ways of a line:
//
//	keyboard -> server
//	server -> screen
//
// What holds everywhere:
//
//  1. Each way is one goroutine, and each waits for itself alone: a server that does not read, or
//     a terminal that is held up, does not keep the other way, or Ctrl+C, from working.
//  2. Nothing is queued here: where the one end does not take, the other is not read.
//  3. Nothing from the server reaches the screen unless it was made harmless (show).
//
// Exit status: 0 ended by the user, or by the server in peace; 1 the connection failed or was
// refused; 2 the command line is wrong.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"
)

// ---------------------------------------------------------------------------------------------
// 1. Limits
// ---------------------------------------------------------------------------------------------

const (
	version     = "0.1.0"
	defaultHost = "localhost"
	defaultPort = 8080
	readSize    = 64 * 1024   // bytes read in one go
	lineKept    = 128         // bytes kept of a line of the server's: more than any with a meaning
	closeTime   = time.Second // for the server to end its side, once the user has ended ours
)

const (
	prompt     = "Enter your screen name: "
	goodEnding = "Server is shutting down"
	goodbye    = "Goodbye, "
)

var badEndings = []string{
	"! too many attempts",
	"! timed out",
	"! server full",
	"! kicked by the operator",
}

// ---------------------------------------------------------------------------------------------
// 2. Types
// ---------------------------------------------------------------------------------------------

type options struct {
	host   string
	port   int
	answer string // to the prompt: the name, with its line end; empty where the user is asked
}

// A client is everything. What has no other word is touched by fromServer's goroutine alone.
type client struct {
	conn    *net.TCPConn
	answer  string        // to the prompt, until it is given
	mayType chan struct{} // closed when that is done, or there is none: then the input is read
	sentAll atomic.Bool   // our side of the connection is ended, in order; set by fromKeyboard

	line     []byte // the line that the server is at, cut
	lastLine string // the last whole one, cut
	held     []byte // what came and is not shown, before it is seen what follows
}

func newClient(conn *net.TCPConn, answer string) *client {
	c := &client{conn: conn, answer: answer, mayType: make(chan struct{})}
	if answer == "" {
		close(c.mayType)
	}
	return c
}

// errScreen says that standard output is gone.
var errScreen = errors.New("cannot write to standard output")

// ---------------------------------------------------------------------------------------------
// 3. Screen
// ---------------------------------------------------------------------------------------------

// show puts what came on the screen, made harmless (CLIENT-6). What cannot be judged yet, the
// beginning of a character or a carriage return, is held back; last says that nothing follows.
// utf8.RuneError is U+FFFD.
func (c *client) show(data []byte, last bool) error {
	data = append(c.held, data...)
	var text []byte
	for utf8.FullRune(data) && (len(data) > 1 || data[0] != '\r') {
		if bytes.HasPrefix(data, []byte("\r\n")) {
			data = data[1:]
		}
		r, size := utf8.DecodeRune(data) // what is not UTF-8 is an error too
		if isControl(r) && r != '\n' {
			r = utf8.RuneError
		}
		text = utf8.AppendRune(text, r)
		data = data[size:]
	}
	if last && len(data) > 0 {
		text, data = utf8.AppendRune(text, utf8.RuneError), nil
	}
	c.held = bytes.Clone(data)
	if _, err := os.Stdout.Write(text); err != nil {
		return errScreen
	}
	return nil
}

// isControl tells whether a character is one of C0 except TAB, DEL and C1, or of those that break
// a line or turn its direction on the screen.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// complain says something on standard error.
func complain(message string) {
	fmt.Fprint(os.Stderr, message) // where that is closed, nobody can be told
}

// ---------------------------------------------------------------------------------------------
// 4. Connection
// ---------------------------------------------------------------------------------------------

// connectTo connects to the first address of a host that answers: that is what package net does.
// It sets TCP_NODELAY as well.
func connectTo(ctx context.Context, address string) (*net.TCPConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// closeInOrder ends our side, and discards what comes until the server ends its own. To close a
// connection with something unread in it would reset it. The other goroutines may be at work.
func (c *client) closeInOrder() {
	c.conn.CloseWrite()
	c.conn.SetReadDeadline(time.Now().Add(closeTime))
	io.Copy(io.Discard, c.conn) // however it ends
}

// reason gives the heart of an error of package net, which names the operation and the address too.
func reason(err error) string {
	var number syscall.Errno
	var lookup *net.DNSError
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &lookup):
		return lookup.Err
	}
	return err.Error()
}

// ---------------------------------------------------------------------------------------------
// 5. From the server
// ---------------------------------------------------------------------------------------------

// fromServer shows what the server sends until it ends its side, and says then why it ended: nil
// if it was in order, or an error of the connection, or errScreen. It has its own goroutine, which
// ends without a word, too, once the user has ended it all.
func (c *client) fromServer(ctx context.Context) error {
	buffer := make([]byte, readSize)
	for {
		n, err := c.conn.Read(buffer)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if problem := c.onServer(buffer[:n], err != nil); problem != nil {
			return problem
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// onServer shows what came, and gives the name when it is first asked for (CLIENT-8).
func (c *client) onServer(data []byte, last bool) error {
	c.follow(data)
	if err := c.show(data, last); err != nil {
		return err
	}
	if c.answer == "" || string(c.line) != prompt {
		return nil
	}
	answer := []byte(c.answer)
	c.answer = ""
	c.conn.Write(answer) // an error shows in what is read
	close(c.mayType)
	return c.show(answer, false)
}

// follow keeps the beginning of the line that the server is at, and of the last one before it.
func (c *client) follow(data []byte) {
	for {
		part, rest, found := bytes.Cut(data, []byte("\n"))
		c.line = append(c.line, part[:min(len(part), lineKept-len(c.line))]...)
		if !found {
			return
		}
		c.lastLine = strings.TrimSuffix(string(c.line), "\r")
		c.line = c.line[:0]
		data = rest
	}
}

// ending says how it ended, as the server's last line tells (CLIENT-5), and gives the exit status.
func (c *client) ending(err error) int {
	switch {
	case err == errScreen:
		return 1
	case c.lastLine == goodEnding || strings.HasPrefix(c.lastLine, goodbye):
		complain("Disconnected\n")
		return 0
	case slices.Contains(badEndings, c.lastLine):
		complain("Disconnected\n")
		return 1
	case err == nil && c.sentAll.Load():
		return 0
	}
	complain("Connection lost\n")
	return 1
}

// ---------------------------------------------------------------------------------------------
// 6. From the keyboard
// ---------------------------------------------------------------------------------------------

// fromKeyboard sends what is typed, as it comes, and then ends our side; an unfinished last line
// gets its end (CLIENT-1). It has its own goroutine, which ends with the input, when the server
// takes no more, or with the program.
func (c *client) fromKeyboard() {
	<-c.mayType
	buffer := make([]byte, readSize)
	unfinished := false
	for {
		n, err := os.Stdin.Read(buffer)
		if n > 0 {
			unfinished = buffer[n-1] != '\n'
		}
		if err != nil {
			break
		}
		if _, err := c.conn.Write(buffer[:n]); err != nil {
			return // what the server said before it went is still shown
		}
	}
	if unfinished {
		c.conn.Write([]byte("\n")) // an error shows in what is read
	}
	c.sentAll.Store(true) // first, as the server may answer at once
	c.conn.CloseWrite()
}

// ---------------------------------------------------------------------------------------------
// 7. Loop
// ---------------------------------------------------------------------------------------------

// run passes on what comes, both ways, until either side ends it, and gives the exit status.
func (c *client) run(ctx context.Context) int {
	ended := make(chan error, 1)
	go func() { ended <- c.fromServer(ctx) }()
	go c.fromKeyboard()
	select {
	case err := <-ended:
		return c.ending(err)
	case <-ctx.Done():
		c.closeInOrder()
		return 0
	}
}

// ---------------------------------------------------------------------------------------------
// 8. Start and stop
// ---------------------------------------------------------------------------------------------

const usage = "usage: chat-client [--host HOST] [--port PORT] [--name NAME] [--help] [--version]\n"

var optionsHelp = fmt.Sprintf(usage+`
A chat client. It shows what the server sends and sends each line of its input.
The connection is not encrypted: whoever is on the way can read and change it.

  --host HOST    where the server is (default %s)
  --port PORT    its port (default %d)
  --name NAME    the screen name to give (default: be asked for it)
  --help         print this and exit
  --version      print the version and exit

In the chat, /help lists the commands. Ctrl+C ends the client; so does, once all is sent, Ctrl+D.
`, defaultHost, defaultPort)

const versionLine = "chat-client " + version + " (Go, protocol 1)\n"

// fail ends the program before it has begun.
func fail(status int, message string) {
	complain(message)
	os.Exit(status)
}

// usageError ends the program for a command line that is wrong.
func usageError(message string) {
	fail(2, usage+"chat-client: error: "+message+"\n")
}

// answer prints what --help or --version asks for.
func answer(text string) {
	fmt.Print(text)
	os.Exit(0)
}

var wholeNumber = regexp.MustCompile(`^[0-9]{1,9}$`)

// setPort sets the port, if the text is a good one.
func (o *options) setPort(text string) bool {
	o.port, _ = strconv.Atoi(text)
	return wholeNumber.MatchString(text) && 1 <= o.port && o.port <= 65535
}

// setName sets a name; whether it is a good one is for the server to say, if it is one line.
func (o *options) setName(text string) bool {
	o.answer = text + "\n"
	return !strings.ContainsFunc(text, isControl)
}

// setHost sets the host.
func (o *options) setHost(text string) bool {
	o.host = text
	return true
}

// values has what sets each option that takes a value, and tells whether the value is good.
var values = map[string]func(o *options, value string) bool{
	"--host": (*options).setHost,
	"--port": (*options).setPort,
	"--name": (*options).setName,
}

// parseOptions reads the command line; the first word that asks for help or is wrong ends the
// program.
func parseOptions(words []string) options {
	o := options{host: defaultHost, port: defaultPort}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch word {
		case "--help":
			answer(optionsHelp)
		case "--version":
			answer(versionLine)
		default:
			words = setOption(&o, word, words)
		}
	}
	return o
}

// setOption sets the option that a word begins, or ends the program; it gives the words after it.
func setOption(o *options, word string, rest []string) []string {
	name, value, joined := strings.Cut(word, "=")
	set, known := values[name]
	switch {
	case !known && strings.HasPrefix(word, "-"):
		usageError("unknown option: " + word)
	case !known:
		usageError("not an option: " + word)
	case joined:
		rest = append([]string{value}, rest...)
	case len(rest) == 0:
		usageError("no value for " + name)
	default:
		word += " " + rest[0]
	}
	if !set(o, rest[0]) {
		usageError("bad value: " + word)
	}
	return rest[1:]
}

// catchSignals gives a context that ends at the first Ctrl+C or SIGTERM. A second one ends the
// process: that is what its goroutine waits for, to the end.
func catchSignals() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Ignore(syscall.SIGPIPE) // a write to a closed standard output fails, and run sees it
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(1)
	}()
	return ctx
}

func main() {
	ctx := catchSignals()
	o := parseOptions(os.Args[1:])
	address := net.JoinHostPort(o.host, strconv.Itoa(o.port))
	conn, err := connectTo(ctx, address)
	switch {
	case err != nil && ctx.Err() != nil:
		return // the user did not want to wait
	case err != nil:
		fail(1, fmt.Sprintf("cannot connect to %s: %s\n", address, reason(err)))
	}
	os.Exit(newClient(conn, o.answer).run(ctx))
}
