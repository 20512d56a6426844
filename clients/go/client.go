// Command client is a chat client for a terminal or a pipe. PROTOCOL.md is its contract.
//
//	go run client.go                connects to localhost:8080
//	go run client.go --help         lists the options
//
// The two paths of a line:
//
//	keyboard -> typed -> outbox -> server
//	server -> screen
//
// The phases, with a reconnection:
//
//	asked -> joined -> away -> returning -> joined
//
// Invariants:
//
//  1. One goroutine, run's, owns all state. Each call that may block is made by another goroutine
//     (begin), which then sends run a function to call. So neither direction waits for the other,
//     and Ctrl+C always works.
//  2. Buffers are bounded: while a buffer is full, its source is not read.
//  3. Only `show` writes text from the server to the screen, and sanitizes it.
//  4. A line leaves the outbox when all of it was sent. Lines typed without a connection are in
//     `kept`, and enter the outbox after the welcome, so they never answer a prompt.
//  5. The terminal's mode is restored, however the program ends or is stopped (package terminal).
//
// Exit status: 0 ended by the user, or by the server in order; 1 the connection failed or was
// refused; 2 the command line is wrong.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"chat/client/options"
	"chat/client/terminal"
)

// ---------------------------------------- 1. Limits -----------------------------------------

const (
	maxWaiting   = 64 * 1024               // bytes in a buffer; with as many, its source is not read
	readSize     = 64 * 1024               // bytes read in one system call
	lineKept     = 1280                    // bytes kept of a server's line: two names and a text fit
	maxLine      = 1024                    // bytes that a server accepts as one line
	maxAnswers   = 64                      // lines sent before the welcome; no server asks more than 12 times
	maxOffers    = 64                      // account commands without a reply yet
	nextTime     = time.Second             // for an address to answer, before the next is tried, too
	tryTime      = 30 * time.Second        // to connect; when reconnecting, also to be welcomed
	closeTime    = time.Second             // for the server to end its side after we have ended ours
	sayTime      = time.Second / 2         // for standard error to accept a line
	endTime      = 1500 * time.Millisecond // to end the program after a signal
	lookTime     = time.Second             // between two checks whether we are in the foreground
	maxRetryTime = 30.0                    // seconds
)

const (
	prompt         = "Enter your screen name: "
	passwordPrompt = "Password: "
	shutdown       = "Server is shutting down"
)

var (
	welcome  = regexp.MustCompile(`^Welcome, ([A-Za-z0-9_-]+) \(`)
	renamed  = regexp.MustCompile(`^([A-Za-z0-9_-]+) is now known as ([A-Za-z0-9_-]+)$`)
	named    = regexp.MustCompile(`^(?:\(private\) )?([A-Za-z0-9_-]+)(?:: | has (joined|left) the chat$)`)
	online   = regexp.MustCompile(`^Online \([0-9]+\): (.*)$`)
	sentAway = regexp.MustCompile(`^! (?:too many attempts|timed out|server full|kicked by the operator)$`)

	// The commands that may change our name or our password, and the replies that refuse them.
	accountCommand = regexp.MustCompile(`^/(?i:(?:register|passwd)( .*)?|(?:unregister|nick)(?: .*)?)$`)
	refusal        = regexp.MustCompile(`^! (?:invalid name: |name in use: |name registered: |` +
		`name not registered: |already registered: |not registered: |password must |accounts cannot |` +
		`unknown command: /(?i:register|passwd|unregister|nick) )`)
)

// ----------------------------------------- 2. Types -----------------------------------------

// A phase is the state of the conversation with the server.
type phase int

const (
	asked     phase = iota // never welcomed yet: the user answers the prompts
	joined                 // welcomed
	away                   // the connection was lost: waiting for the next attempt, or connecting
	returning              // connected again, not welcomed yet: the client answers the prompts
)

// A link is one connection.
type link struct {
	conn    *net.TCPConn // nil in the phase away
	hearing bool         // a goroutine receives
	sending bool         // a goroutine sends
	sentAll bool         // the input has ended, and we have ended our side
	broken  bool         // sending has failed, or the server has reset the connection
	ended   bool         // closed by the server, or the attempt to reconnect has failed

	line     string   // the server's incomplete line, without prompts, up to lineKept
	cut      bool     // it has more bytes than that
	lastLine string   // its last complete line, likewise
	prompts  int      // that it has sent
	asked    string   // the last prompt
	answers  []string // the first lines sent before the welcome
	held     string   // an incomplete character, or a carriage return that may belong to a line end
}

// A secret is a password, and the one name that it is for.
type secret struct{ name, password string }

// A client is all state of the client.
type client struct {
	options options.Options
	tty     *terminal.Terminal
	link    *link
	phase   phase
	answers bool // --name answers the prompt, until it is refused

	reading  bool   // a goroutine reads standard input
	typed    []byte // an incomplete line
	outbox   []byte // lines to send
	kept     []byte // lines typed while there is no connection
	forgets  bool   // drop the next line: it may be a password (BACK-10)
	typedAll bool   // the input has ended

	shown  chan error  // receives the result of writing to standard output; nil while idle
	saying atomic.Bool // a goroutine writes to standard error

	name    string   // our name, or the last one; empty before the first welcome
	proven  secret   // the password that the server accepted last, and its name
	offered []string // the passwords in account commands without a reply yet
	tries   int      // attempts to reconnect since the last welcome

	done   chan func() // functions that the other goroutines send to run
	over   bool        // the program ends ...
	words  string      // ... with this final message
	status int
}

func newClient(o options.Options, tty *terminal.Terminal, conn *net.TCPConn) *client {
	c := &client{
		options: o,
		tty:     tty,
		link:    &link{conn: conn},
		answers: o.HasName,
		done:    make(chan func()),
	}
	tty.Flush = c.flush
	return c
}

// ---------------------------------------- 3. Screen -----------------------------------------

// show shows text from the server, sanitized (CLIENT-6). An incomplete character and a carriage
// return are held until more arrives.
func (c *client) show(data string) {
	data = strings.ReplaceAll(c.link.held+data, "\r\n", "\n")
	var text []byte
	for utf8.FullRuneInString(data) && data != "\r" {
		r, size := utf8.DecodeRuneInString(data) // for a byte that is not UTF-8, U+FFFD and 1
		if isControl(r) && r != '\n' {
			r = '\ufffd'
		}
		text = utf8.AppendRune(text, r)
		data = data[size:]
	}
	c.link.held = data
	c.tty.PrintAbove(string(text))
}

// isControl tells whether a character is one of C0 except TAB, DEL, C1, the line and paragraph
// separators, and the bidirectional controls (FRAME-6).
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// ownPrompt returns the client's own prompt (EDIT-2).
func (c *client) ownPrompt() string {
	switch {
	case c.name == "":
		return ""
	case c.phase == joined:
		return c.name + "> "
	}
	return c.name + " (away)> "
}

// writeScreen starts to write to standard output what is in tty.Out, unless it is being written.
func (c *client) writeScreen() {
	text := c.tty.Out
	if c.shown != nil || len(text) == 0 || !c.tty.MayShow() {
		return
	}
	shown := make(chan error, 1)
	c.shown, c.tty.Out = shown, nil
	go func() { shown <- writeAll(text) }()
}

// writeAll writes a text, even if another program has made the shared pipe non-blocking.
func writeAll(text []byte) error {
	for {
		n, err := os.Stdout.Write(text)
		if !errors.Is(err, unix.EAGAIN) {
			return err
		}
		text = text[n:]
		unix.Poll([]unix.PollFd{{Fd: 1, Events: unix.POLLOUT}}, -1)
	}
}

// flush waits until everything is on the screen, but not for long: Ctrl+S may have stopped it.
func (c *client) flush() {
	late := time.After(closeTime)
	for c.writeScreen(); c.shown != nil; c.writeScreen() {
		select {
		case <-c.shown:
			c.shown = nil
		case <-late:
			return
		}
	}
}

// announce writes a message to standard error, after everything else on the screen. While standard
// error has not accepted the last message, further ones are lost.
func (c *client) announce(message string) {
	c.tty.TakeOff()
	c.flush()
	if c.saying.Swap(true) {
		return
	}
	said := make(chan struct{})
	go func() {
		os.Stderr.WriteString(message) // an error could not be reported
		c.saying.Store(false)
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(sayTime):
	}
}

// -------------------------------------- 4. Connection ---------------------------------------

// connect connects to the first address of the host that answers. Where one fails or does not
// answer soon, the next one is tried in parallel (CLIENT-7).
func connect(ctx context.Context, o *options.Options) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tryTime, unix.ETIMEDOUT)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, o.Host)
	tried := make(chan try)
	for waiting := 0; waiting > 0 || len(addresses) > 0; {
		if len(addresses) > 0 {
			go connectTo(ctx, net.JoinHostPort(addresses[0].String(), strconv.Itoa(o.Port)), tried)
			addresses = addresses[1:]
			waiting++
		}
		select {
		case one := <-tried:
			if one.err == nil {
				return one.conn.(*net.TCPConn), nil
			}
			err = one.err
			waiting--
		case <-time.After(nextTime):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return nil, err
}

// A try is the result of connecting to one address.
type try struct {
	conn net.Conn
	err  error
}

// connectTo connects to one address. A connection to ourselves counts as refused (CLIENT-9).
func connectTo(ctx context.Context, address string, tried chan<- try) {
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil && conn.LocalAddr().String() == conn.RemoteAddr().String() {
		conn.Close()
		err = unix.ECONNREFUSED
	}
	select {
	case tried <- try{conn, err}:
	case <-ctx.Done():
		if err == nil { // another address was faster
			conn.Close()
		}
	}
}

// dialer connects. Package net sets TCP_NODELAY (FRAME-9).
var dialer = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4,
	},
	Control: prepare,
}

// prepare, with the dialer's KeepAliveConfig, makes the system notice a server that has vanished.
func prepare(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 120_000)
	})
}

// sendTyped starts to send the outbox; after the end of the input, it ends our side. A line that
// was sent only in part stays in the outbox, to be sent again on the next connection.
func (c *client) sendTyped() {
	l, data := c.link, c.outbox
	switch {
	case l.conn == nil || l.broken || l.ended || l.sending:
	case len(data) > 0:
		c.begin(&l.sending, func() func() {
			n, err := l.conn.Write(data)
			return func() {
				if err != nil {
					l.broken = true // what the server has sent can still be received
					n = bytes.LastIndexByte(data[:n], '\n') + 1
				}
				c.outbox = c.outbox[n:]
			}
		})
	case c.typedAll && len(c.kept) == 0 && !c.isAway() && !l.sentAll:
		l.broken = l.conn.CloseWrite() != nil
		l.sentAll = !l.broken
	}
}

// closeInOrder ends our side, and discards input until the server ends its side. Closing a
// connection with unread input would reset it (CLIENT-2).
func (l *link) closeInOrder() {
	if l.conn != nil {
		l.conn.CloseWrite()
		l.conn.SetDeadline(time.Now().Add(closeTime))
		io.Copy(io.Discard, l.conn)
		l.conn.Close()
	}
}

// ------------------------------------ 5. From the server ------------------------------------

// hear starts to receive from the server.
func (c *client) hear() {
	l := c.link
	if !c.mayHear() {
		return
	}
	c.begin(&l.hearing, func() func() {
		buffer := make([]byte, readSize)
		n, err := l.conn.Read(buffer)
		return func() {
			if !l.ended {
				c.receive(string(buffer[:n]), err)
			}
		}
	})
}

// mayHear tells whether there is space for more text from the server.
func (c *client) mayHear() bool {
	return c.link.conn != nil && !c.link.ended && c.tty.MayShow() && len(c.tty.Out) < maxWaiting
}

// receive handles what the server has sent, line by line, and its end.
func (c *client) receive(data string, err error) {
	l := c.link
	for piece := range strings.Lines(data) {
		if !l.ended {
			c.onServer(piece)
		}
	}
	if err == nil || l.ended {
		return
	}
	l.broken = l.broken || err != io.EOF
	l.ended = true
	l.conn.SetWriteDeadline(time.Now()) // ends a Write that may never finish
	if l.held != "" {
		c.tty.PrintAbove("\ufffd")
	}
	if c.phase == asked {
		c.showTyping()
	}
}

// onServer shows and handles a line, or a piece of one; when reconnecting, it handles it first.
func (c *client) onServer(piece string) {
	l := c.link
	if c.phase != returning {
		c.show(piece)
	}
	part, whole := strings.CutSuffix(piece, "\n")
	prompted := c.keepPiece(part)
	if whole {
		l.lastLine = strings.TrimSuffix(l.line, "\r")
		l.line = ""
		c.onLine(l.lastLine)
		l.cut = false
	} else if prompted && l.line == "" {
		c.onPrompt()
	}
}

// keepPiece keeps a piece of the server's line, and returns whether there was a prompt in front of
// it. When reconnecting, what is too long to be kept, and so is no prompt, is shown as it comes.
func (c *client) keepPiece(piece string) (prompted bool) {
	l, kept := c.link, 0
	if !l.cut {
		kept = min(len(piece), lineKept-len(l.line))
	}
	l.line += piece[:kept]
	prompted = c.phase != joined && l.takePrompts()
	more := piece[kept:]
	if c.phase == returning && more != "" && !l.cut {
		c.show(l.line + more)
	} else if c.phase == returning {
		c.show(more)
	}
	l.cut = l.cut || more != ""
	return prompted
}

// takePrompts removes the prompts from the front of the line, and returns whether there was one. A
// prompt has no line end, so the server's next text follows on the same line. No message of a user
// can look like a prompt, because the name Password is reserved (JOIN-3).
func (l *link) takePrompts() bool {
	before := l.prompts
	for _, text := range []string{prompt, passwordPrompt} {
		for strings.HasPrefix(l.line, text) {
			l.line = l.line[len(text):]
			l.prompts++
			l.asked = text
		}
	}
	return l.prompts > before
}

// onPrompt answers the pending prompt where the client can, and hides the typing of a password.
func (c *client) onPrompt() {
	if c.phase == returning && c.name != "" {
		c.answerPrompt()
		return
	}
	if c.phase == returning { // lost before the first welcome (BACK-10)
		c.phase = asked
		c.link.conn.SetReadDeadline(time.Time{})
		c.show(c.link.asked)
	}
	c.forgets = false
	if c.link.asked == passwordPrompt {
		c.tty.HideTyping()
		return
	}
	c.showTyping()
	if c.answers {
		c.giveName()
	}
}

// giveName answers the first prompt of a connection with --name, until it is refused (CLIENT-8).
func (c *client) giveName() {
	if c.link.prompts > 1 {
		c.answers = false
		return
	}
	answer := c.options.Name + "\n"
	c.passOn(answer)
	c.show(answer)
}

// showTyping shows typing again, and drops a half-typed password (HIDE-2).
func (c *client) showTyping() {
	if c.tty.Hidden {
		c.tty.DropTyped()
		c.typed = nil
	}
	c.tty.ShowTyping()
}

// onLine handles a complete line from the server.
func (c *client) onLine(line string) {
	welcomed := ""
	if found := welcome.FindStringSubmatch(line); found != nil {
		welcomed = found[1]
	}
	switch {
	case c.phase == returning:
		c.comeBack(line, welcomed)
	case c.phase == asked && welcomed != "":
		c.enter(welcomed)
	case c.phase == joined:
		c.followName(line)
		c.followOthers(line)
	}
}

// enter handles the welcome: it remembers the password that was accepted, and sends the kept lines.
// Lines sent ahead of the welcome that answered no prompt may be account commands.
func (c *client) enter(name string) {
	l, kept := c.link, c.kept
	answered := min(l.prompts, len(l.answers))
	if c.phase == asked && l.asked == passwordPrompt && answered == l.prompts {
		c.proven = secret{name, l.answers[answered-1]}
	}
	c.name, c.phase = name, joined
	for _, line := range l.answers[answered:] {
		c.remember(line)
	}
	l.answers, c.answers, c.tries = nil, false, 0
	c.tty.ShowTyping()
	c.kept = nil
	c.passOn(string(kept))
}

// followName notices a new name or password of ours. The server replies to commands in order.
func (c *client) followName(line string) {
	found := renamed.FindStringSubmatch(line)
	isRenamed := found != nil && found[1] == c.name
	changed := line == "Password changed" || line == "Registered "+c.name
	removed := line == "Unregistered "+c.name
	if isRenamed {
		c.name = found[2]
	}
	if changed && len(c.offered) > 0 {
		c.proven = secret{c.name, c.offered[0]}
	}
	if removed {
		c.proven = secret{}
	}
	if isRenamed || changed || removed || refusal.MatchString(line) {
		c.offered = c.offered[min(1, len(c.offered)):]
	}
}

// followOthers notices who is in the room, for TAB (EDIT-6).
func (c *client) followOthers(line string) {
	if found := online.FindStringSubmatch(line); found != nil {
		for _, name := range strings.Split(found[1], ", ") {
			c.tty.Know(name)
		}
	} else if found := renamed.FindStringSubmatch(line); found != nil {
		c.tty.Forget(found[1])
		c.tty.Know(found[2])
	} else if found := named.FindStringSubmatch(line); found == nil {
		return
	} else if found[2] == "left" {
		c.tty.Forget(found[1])
	} else if found[1] != "server" && found[1] != "Commands" {
		c.tty.Know(found[1])
	}
}

// ending decides from the server's last line whether the program ends or reconnects (CLIENT-5).
func (c *client) ending() {
	l := c.link
	switch last := l.lastLine; {
	case last == shutdown, strings.HasPrefix(last, "Goodbye, ") && !c.isAway():
		c.end("Disconnected\n", 0)
	case sentAway.MatchString(last) && !c.isAway():
		c.end("Disconnected\n", 1)
	case l.sentAll && !l.broken:
		c.end("", 0)
	case c.options.Retries == 0, l.sentAll, c.hasNoAnswer():
		c.endRow()
		c.end("Connection lost\n", 1)
	default:
		c.lose()
	}
}

// ----------------------------------- 6. From the keyboard -----------------------------------

// read starts to read standard input.
func (c *client) read() {
	if !c.mayRead() {
		return
	}
	c.begin(&c.reading, func() func() {
		data, ended := c.tty.Read()
		return func() { c.onInput(data, ended) }
	})
}

// mayRead tells whether there is space for more input, and --name was sent (CLIENT-8).
func (c *client) mayRead() bool {
	l := c.link
	full := len(c.outbox)+len(c.kept) >= maxWaiting
	early := l.broken || l.ended || c.answers && l.prompts == 0
	return c.tty.Ours && !c.typedAll && !full && (c.isAway() || !early)
}

// onInput handles input: keys or lines. An incomplete last line gets a line end (CLIENT-1).
func (c *client) onInput(data []byte, ended bool) {
	c.typed = append(c.typed, data...)
	if c.tty.IsEditing() && !ended {
		ended = c.tty.ReadLine(string(c.typed), c.onEdited)
		c.typed = nil
	}
	if ended {
		c.typedAll = true
		c.tty.EndEditing()
		if len(c.typed) > 0 {
			c.typed = append(c.typed, '\n')
		}
	}
	whole := bytes.LastIndexByte(c.typed, '\n') + 1
	if whole == 0 && len(c.typed) >= maxWaiting {
		whole = len(c.typed) - 1 // the last byte waits for the line end
	}
	for line := range bytes.Lines(c.typed[:whole]) {
		c.onTyped(string(line))
	}
	c.typed = c.typed[whole:]
	if c.isAway() && c.hasNoAnswer() {
		c.end("Connection lost\n", 1)
	}
}

// onEdited handles an edited line, and returns whether the history may keep it (HIDE-3).
func (c *client) onEdited(line string) bool {
	found := accountCommand.FindStringSubmatch(line)
	keep := c.name != "" && (found == nil || found[1] == "")
	c.onTyped(line + "\n")
	return keep
}

// onTyped sends a typed line, keeps it while there is no connection, or drops it.
func (c *client) onTyped(line string) {
	switch {
	case c.forgets:
		c.forgets = false
	case c.isAway() && isQuit(line):
		c.end("Disconnected\n", 0)
	case c.isAway():
		c.kept = append(c.kept, line...)
	default:
		c.passOn(line)
	}
}

// isQuit tells whether a line is /quit.
func isQuit(line string) bool {
	word, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	return strings.EqualFold(word, "/quit")
}

// passOn appends lines to the outbox.
func (c *client) passOn(lines string) {
	c.outbox = append(c.outbox, lines...)
	for line := range strings.Lines(lines) {
		if line, whole := strings.CutSuffix(line, "\n"); whole {
			c.remember(strings.TrimSuffix(line, "\r"))
		}
	}
}

// remember remembers a line that may have a password, until the server's reply to it. A line that
// the server refuses by FRAME-4 to FRAME-6 gets another reply.
func (c *client) remember(line string) {
	if c.phase == asked && len(c.link.answers) < maxAnswers {
		c.link.answers = append(c.link.answers, line[:min(len(line), maxLine)])
	}
	found := accountCommand.FindStringSubmatch(line)
	good := len(line) <= maxLine && utf8.ValidString(line) && !strings.ContainsFunc(line, isControl)
	if c.phase == joined && found != nil && good && len(c.offered) < maxOffers {
		c.offered = append(c.offered, strings.TrimLeft(found[1], " "))
	}
}

// hasNoAnswer tells whether a prompt for the name cannot be answered: the input has ended.
func (c *client) hasNoAnswer() bool { return c.typedAll && c.name == "" && !c.answers }

// ------------------------------------- 7. Away and back -------------------------------------

// isAway tells whether the connection was lost and we are not welcomed again: typed lines are kept.
func (c *client) isAway() bool { return c.phase == away || c.phase == returning }

// lose starts to wait for the next attempt (BACK-1), or gives up after the last one (BACK-6).
func (c *client) lose() {
	c.endRow()
	if c.tries == c.options.Retries {
		c.end(fmt.Sprintf("Giving up after %d attempts\n", c.tries), 1)
		return
	}
	go c.link.closeInOrder()
	c.keepUnsent()
	c.link, c.phase = &link{}, away
	delay := min(c.options.RetryDelay*math.Exp2(float64(c.tries)), maxRetryTime)
	c.tries++
	c.announce(fmt.Sprintf("Connection lost, retrying in %s s (%d of %d)\n",
		strconv.FormatFloat(delay, 'f', -1, 64), c.tries, c.options.Retries))
	c.tryAgain(time.Duration(delay * float64(time.Second)))
}

// endRow ends the server's incomplete line, but not a prompt for a name that is being typed.
func (c *client) endRow() {
	if c.tty.Begun != prompt {
		c.tty.EndRow()
	}
}

// keepUnsent keeps the lines that were not sent, unless they answered prompts. If a password was
// asked for and not typed yet, the next line is dropped (BACK-10).
func (c *client) keepUnsent() {
	l := c.link
	switch c.phase {
	case joined:
		c.kept = c.outbox
		c.offered = nil
		clear(c.tty.Names)
	case asked:
		c.forgets = l.asked == passwordPrompt && l.prompts > len(l.answers) || len(c.typed) > 0
		c.typed = nil
	}
	c.outbox = nil
}

// tryAgain connects again, after the delay; the time until the welcome is limited (BACK-5).
func (c *client) tryAgain(delay time.Duration) {
	go func() {
		time.Sleep(delay)
		conn, err := connect(context.Background(), &c.options)
		c.done <- func() {
			if err != nil {
				c.refuse()
				return
			}
			c.tty.ForgetRow()
			c.link, c.phase = &link{conn: conn}, returning
			conn.SetReadDeadline(time.Now().Add(tryTime))
		}
	}()
}

// answerPrompt answers each prompt once for the user; at any further prompt, the attempt fails.
func (c *client) answerPrompt() {
	l, password := c.link, c.findPassword()
	switch {
	case l.prompts == 1 && l.asked == prompt:
		c.outbox = append(c.outbox, c.name+"\n"...)
	case l.prompts == 2 && l.asked == passwordPrompt && password != "":
		c.outbox = append(c.outbox, password+"\n"...)
	default:
		c.refuse()
	}
}

// findPassword returns the password for our name; empty where there is none (BACK-3).
func (c *client) findPassword() string {
	if strings.EqualFold(c.proven.name, c.name) {
		return c.proven.password
	}
	return ""
}

// comeBack handles a line when reconnecting: the welcome, a refusal, or a line to show.
func (c *client) comeBack(line, welcomed string) {
	if welcomed != "" && welcomed == c.name {
		c.link.conn.SetReadDeadline(time.Time{})
		c.announce("Reconnected as " + welcomed + "\n")
		c.enter(welcomed)
		return
	}
	if c.link.cut {
		c.show("\n")
	} else if line != "" && welcomed == "" {
		c.show(line + "\n")
	}
	if welcomed != "" || strings.HasPrefix(line, "! ") {
		c.refuse()
	}
}

// refuse ends a failed attempt to reconnect (BACK-5).
func (c *client) refuse() { c.link.ended = true }

// giveUp restores the terminal, and prints the lines that were not sent (BACK-9), and the message.
func (c *client) giveUp() {
	c.tty.EndEditing()
	var text strings.Builder
	for line := range bytes.Lines(c.kept) {
		fmt.Fprintf(&text, "not sent: %s\n", bytes.TrimSuffix(line, []byte("\n")))
	}
	if text.WriteString(c.words); text.Len() > 0 {
		c.announce(text.String())
	}
	c.flush()
}

// ----------------------------------------- 8. Loop ------------------------------------------

// run runs the client, and returns the exit status.
func (c *client) run(ctx context.Context) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGCONT, unix.SIGWINCH)
	for !c.over {
		c.tty.Take()
		c.sendTyped()
		c.tty.Own = c.ownPrompt()
		if c.shown == nil { // draws the half-typed line once after many other lines
			c.tty.Draw()
		}
		c.writeScreen()
		c.hear()
		c.read()
		if c.isOver() {
			c.ending()
		} else {
			c.wait(ctx, signals)
		}
	}
	c.giveUp()
	c.link.closeInOrder()
	return c.status
}

// isOver tells whether the connection has ended, and the screen has all text from the server, so
// that our messages may follow it.
func (c *client) isOver() bool {
	return c.link.ended && !c.link.sending &&
		c.shown == nil && len(c.tty.Out) == 0 && c.tty.MayShow()
}

// wait waits for one event, and handles it.
func (c *client) wait(ctx context.Context, signals <-chan os.Signal) {
	var look <-chan time.Time
	if !c.tty.Ours { // no signal reports that we are in the foreground again
		look = time.After(lookTime)
	}
	select {
	case <-ctx.Done():
		c.end("", 0)
	case s := <-signals:
		if s == unix.SIGWINCH {
			c.tty.Resize()
		} else {
			c.tty.GoOn()
		}
	case next := <-c.done:
		next()
	case err := <-c.shown:
		c.shown = nil
		if err != nil {
			c.end("", 1) // CLIENT-10
		}
	case <-look:
	}
}

// begin calls work, which may block, in another goroutine, unless it is running already. Run's
// goroutine then calls the function that work returns.
func (c *client) begin(underWay *bool, work func() func()) {
	if *underWay {
		return
	}
	*underWay = true
	go func() {
		next := work()
		c.done <- func() {
			*underWay = false
			next()
		}
	}()
}

// end ends the program, with a final message.
func (c *client) end(words string, status int) {
	if !c.over {
		c.over, c.words, c.status = true, words, status
	}
}

// ------------------------------------ 9. Start and stop -------------------------------------

// catchSignals lets the first signal end the program in order, by the context that it returns, and
// a second one, or endTime, at once. Package signal unblocks blocked signals; ignored ones stay
// ignored, except SIGTERM (PROG-10).
func catchSignals(tty *terminal.Terminal) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Ignore(unix.SIGPIPE) // writing to a closed pipe fails instead
	for _, s := range []syscall.Signal{unix.SIGINT, unix.SIGHUP, unix.SIGQUIT,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGVTALRM, unix.SIGXCPU} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	signal.Notify(signals, unix.SIGTERM)
	go func() {
		<-signals
		cancel()
		select {
		case <-signals:
		case <-time.After(endTime):
		}
		tty.Restore()
		os.Exit(0)
	}()
	return ctx
}

func main() {
	tty := terminal.Open()
	ctx := catchSignals(tty)
	o := options.ParseOptions(os.Args[1:])
	conn, err := connect(ctx, &o)
	switch {
	case err != nil && ctx.Err() != nil:
		return // ended by a signal
	case err != nil:
		var errno unix.Errno
		if errors.As(err, &errno) { // without the operation and the address that package net adds
			err = errno
		}
		fmt.Fprintf(os.Stderr, "cannot connect to %s: %v\n", o.Address(), err)
		os.Exit(1)
	}
	os.Exit(newClient(o, tty, conn).run(ctx))
}
