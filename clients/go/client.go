// Command client is a chat client for a terminal or a pipe. PROTOCOL.md is its contract; ids such
// as CLIENT-4 name its rules.
//
//	go run client.go                connects to localhost:8080
//	go run client.go --help         lists the options
//
// The two ways of a line:
//
//	keyboard -> typed -> outbox -> server
//	server -> screen
//
// The states of a connection, where one that is lost is tried again:
//
//	asked -> joined -> away -> returning -> joined
//
// What always holds:
//
//  1. One goroutine, run's, owns everything. All that may wait for long is done by others (begin),
//     which send it what is to be done next: so neither direction, nor Ctrl+C, waits for a server
//     that does not read or for a terminal that is held up.
//  2. What waits is bounded: where it is too much, its source is not read.
//  3. Nothing from the server reaches the screen unless it was made harmless (show).
//  4. A typed line leaves the outbox once all of it is sent, and what was typed while there was no
//     connection (kept) enters it once the server has welcomed us: never at a prompt.
//  5. The terminal gets its mode back, however the program ends or is stopped (package terminal).
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

// ---------------------------------------------------------------------------------------------
// 1. Limits
// ---------------------------------------------------------------------------------------------

const (
	maxWaiting   = 64 * 1024               // bytes that may wait in one direction; then its source does
	readSize     = 64 * 1024               // bytes read in one go
	lineKept     = 1280                    // bytes kept of a server's line: two names and a text fit
	maxLine      = 1024                    // bytes that a server takes as one line
	maxAnswers   = 8                       // to prompts on one connection: no server asks more often
	maxOffers    = 64                      // commands that wait for their reply, as far as we follow them
	nextTime     = time.Second             // for an address to answer before the next is tried, too
	tryTime      = 30 * time.Second        // to connect; and for the welcome, on the way back
	closeTime    = time.Second             // for the server to end its side, once we have ended ours
	sayTime      = time.Second / 2         // for standard error to take a line
	endTime      = 1500 * time.Millisecond // for all of the end, after a signal
	lookTime     = time.Second             // between two looks whether the terminal is ours
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

	// Commands whose replies tell what we are called and what our password is, and the refusals of
	// these commands.
	accountCommand = regexp.MustCompile(`^/(?i:(?:register|passwd)( .*)?|(?:unregister|nick)(?: .*)?)$`)
	refusal        = regexp.MustCompile(`^! (?:invalid name: |name in use: |name registered: |` +
		`name not registered: |already registered: |not registered: |password must |accounts cannot |` +
		`unknown command: /(?i:register|passwd|unregister|nick) )`)
)

// ---------------------------------------------------------------------------------------------
// 2. Types
// ---------------------------------------------------------------------------------------------

// A phase is where the client is with the server.
type phase int

const (
	asked     phase = iota // connected, and never welcomed yet: the user answers the prompts
	joined                 // welcomed
	away                   // the connection is lost, and the next try is not due, or is being made
	returning              // connected again: what we remember answers the prompts
)

// A link is one connection, and what is known of it.
type link struct {
	conn    *net.TCPConn // nil: the next try is not due, or is being made
	hearing bool         // it is being read
	sending bool         // some of the outbox is being sent
	sentAll bool         // the input has ended, and so has, in order, our side
	broken  bool         // the server takes no more, or has reset the connection
	ended   bool         // nothing more comes from the server, or is to come: a try has failed

	line     string   // what the server's last line has so far
	lastLine string   // its last whole one; both without prompts, and cut at lineKept
	prompts  int      // how often it has asked
	asked    string   // its last prompt
	answers  []string // the first lines typed, until the welcome
	held     string   // what came and is not shown, before it is seen what follows
}

// A secret is a password, and the one name that it is for.
type secret struct{ name, password string }

// A client is everything. It is touched by run's goroutine alone.
type client struct {
	options options.Options
	tty     *terminal.Terminal
	link    *link // the connection; away: the last one
	phase   phase
	answers bool // --name answers the prompt for the name, until it is refused

	reading  bool   // standard input is being read
	typed    []byte // of a line that is not whole yet
	outbox   []byte // lines for the server
	kept     []byte // lines that were typed while there was no connection
	forgets  bool   // the next line of the input is dropped: it may be a password
	typedAll bool   // the input has ended

	shown  chan error  // how the writing of standard output went; nil: it is not being written
	saying atomic.Bool // standard error is being written

	name    string   // the one we have, or last had; empty before the first welcome
	proven  secret   // what the server took last
	offered []string // the password in each command that it has not answered, empty where it has none
	tries   int      // to come back, since the last welcome

	done   chan func() // what is to be done next, now that something that was begun is done
	over   bool        // the program ends ...
	words  string      // ... with these last words
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

// ---------------------------------------------------------------------------------------------
// 3. Screen
// ---------------------------------------------------------------------------------------------

// show puts what came on the screen, made harmless (CLIENT-6). What cannot be judged yet, the
// beginning of a character or a carriage return, is held back.
func (c *client) show(data string) {
	data = strings.ReplaceAll(c.link.held+data, "\r\n", "\n")
	var text []byte
	for utf8.FullRuneInString(data) && data != "\r" {
		r, size := utf8.DecodeRuneInString(data) // of what is not UTF-8, U+FFFD and 1
		if isControl(r) && r != '\n' {
			r = '\ufffd'
		}
		text = utf8.AppendRune(text, r)
		data = data[size:]
	}
	c.link.held = data
	c.tty.PrintAbove(string(text))
}

// isControl reports whether a character is one of C0 except TAB, DEL and C1, or of those that break
// a line or turn its direction on the screen.
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

// writeScreen begins to write what waits for standard output, unless that is under way.
func (c *client) writeScreen() {
	text := c.tty.Out
	if c.shown != nil || len(text) == 0 || !c.tty.MayShow() {
		return
	}
	shown := make(chan error, 1)
	c.shown, c.tty.Out = shown, nil
	go func() {
		_, err := os.Stdout.Write(text)
		shown <- err
	}()
}

// flush waits until all is on the screen; not for long, as it may be held up.
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

// announce says something on standard error, which may be the same terminal: above the half-typed
// line. Where standard error has not taken what was said before, it is lost.
func (c *client) announce(message string) {
	c.tty.TakeOff()
	c.flush()
	if c.saying.Swap(true) {
		return
	}
	said := make(chan struct{})
	go func() {
		os.Stderr.WriteString(message) // where that fails, nothing can be said about it
		c.saying.Store(false)
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(sayTime):
	}
}

// ---------------------------------------------------------------------------------------------
// 4. Connection
// ---------------------------------------------------------------------------------------------

// connect connects to the first address of the host that answers. Where one fails, or does not
// answer for a while, the next is tried beside it (CLIENT-7).
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

// A try is what came of connecting to one address.
type try struct {
	conn net.Conn
	err  error
}

// connectTo connects to one address. Where TCP connects us to ourselves, none answers (CLIENT-9).
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

// dialer connects; package net sends small lines without delay.
var dialer = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4,
	},
	Control: prepare,
}

// prepare has the system, with the dialer's KeepAliveConfig, notice within two minutes that a
// server has vanished.
func prepare(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 120_000)
	})
}

// sendTyped begins to send what was typed; after the end of the input it ends our side. A line of
// which only a part was sent stays in the outbox: to a server it is none before its end comes.
func (c *client) sendTyped() {
	l, data := c.link, c.outbox
	switch {
	case l.conn == nil || l.broken || l.ended || l.sending:
	case len(data) > 0:
		c.begin(&l.sending, func() func() {
			n, err := l.conn.Write(data)
			return func() {
				if err != nil {
					l.broken = true // what the server said can still be read
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

// closeInOrder ends our side, and discards what comes until the server ends its own: to close a
// connection with something unread in it would reset it. Others may be at work on it.
func (l *link) closeInOrder() {
	if l.conn != nil {
		l.conn.CloseWrite()
		l.conn.SetDeadline(time.Now().Add(closeTime))
		io.Copy(io.Discard, l.conn) // however it ends
		l.conn.Close()
	}
}

// ---------------------------------------------------------------------------------------------
// 5. From the server
// ---------------------------------------------------------------------------------------------

// hear begins to read what the server sends.
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

// mayHear reports whether there is room for what the server sends.
func (c *client) mayHear() bool {
	return c.link.conn != nil && !c.link.ended && c.tty.MayShow() && len(c.tty.Out) < maxWaiting
}

// receive takes what the server has sent, line by line, or learns that it has ended.
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
	l.conn.SetWriteDeadline(time.Now()) // ends what is being sent: it may never be taken
	if l.held != "" {
		c.tty.PrintAbove("\ufffd")
	}
	if c.phase == asked {
		c.showTyping()
	}
}

// onServer shows a line, or a piece of one, and takes its meaning: first, on the way back.
func (c *client) onServer(piece string) {
	l := c.link
	if c.phase != returning {
		c.show(piece)
	}
	part, whole := strings.CutSuffix(piece, "\n")
	l.line += part[:min(len(part), lineKept-len(l.line))]
	prompted := c.phase != joined && l.takePrompts()
	if whole {
		l.lastLine = strings.TrimSuffix(l.line, "\r")
		l.line = ""
		c.onLine(l.lastLine)
	} else if prompted && l.line == "" {
		c.onPrompt()
	}
}

// takePrompts takes the prompts off the front of the line, and reports whether there was one. The
// user's line end, which ends a prompt on the screen, is not sent back by the server. No user can
// say what looks like a prompt: none is called Password (JOIN-3).
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

// onPrompt sees to it that the prompt that is pending is answered, and a password hidden.
func (c *client) onPrompt() {
	if c.phase == returning && c.name != "" {
		c.answerPrompt()
		return
	}
	if c.phase == returning { // the name is asked anew (BACK-10)
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

// giveName answers as --name says, once on each connection, until it is refused (CLIENT-8).
func (c *client) giveName() {
	if c.link.prompts > 1 {
		c.answers = false
		return
	}
	answer := c.options.Name + "\n"
	c.passOn(answer)
	c.show(answer)
}

// showTyping shows again what is typed. What is half typed of a password is dropped (HIDE-2).
func (c *client) showTyping() {
	if c.tty.Hidden {
		c.tty.DropTyped()
		c.typed = nil
	}
	c.tty.ShowTyping()
}

// onLine follows what happens to us by the server's whole lines.
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

// enter is called when we are welcomed: it remembers what let us in, and sends what was kept.
// Commands that were typed ahead are no answers to prompts.
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

// followName learns of a new name, or a new password, of ours. Commands are answered in order.
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

// followOthers notes who is in the room, for TAB.
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

// ending sees how the connection ended, as the server's last line says (CLIENT-5).
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

// ---------------------------------------------------------------------------------------------
// 6. From the keyboard
// ---------------------------------------------------------------------------------------------

// read begins to read standard input.
func (c *client) read() {
	if !c.mayRead() {
		return
	}
	c.begin(&c.reading, func() func() {
		data, ended := c.tty.Read()
		return func() { c.onInput(data, ended) }
	})
}

// mayRead reports whether there is room for more, and the name that --name gives was sent.
func (c *client) mayRead() bool {
	l := c.link
	full := len(c.outbox)+len(c.kept) >= maxWaiting
	early := l.broken || l.ended || c.answers && l.prompts == 0
	return c.tty.Ours && !c.typedAll && !full && (c.isAway() || !early)
}

// onInput takes what the terminal, or the pipe, hands over: keys, or lines. An unfinished last line
// gets its end (CLIENT-1).
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
	if len(c.typed) >= maxWaiting {
		whole = len(c.typed)
	}
	for line := range bytes.Lines(c.typed[:whole]) {
		c.onTyped(string(line))
	}
	c.typed = c.typed[whole:]
	if c.isAway() && c.hasNoAnswer() {
		c.end("Connection lost\n", 1)
	}
}

// onEdited takes a line that was edited, and reports whether the history may have it (HIDE-3).
func (c *client) onEdited(line string) bool {
	found := accountCommand.FindStringSubmatch(line)
	keep := c.name != "" && (found == nil || found[1] == "")
	c.onTyped(line + "\n")
	return keep
}

// onTyped puts a line where it belongs.
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

// isQuit reports whether a line is /quit, as a server reads it (CMD-5).
func isQuit(line string) bool {
	word, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	return strings.EqualFold(word, "/quit")
}

// passOn sends lines.
func (c *client) passOn(lines string) {
	c.outbox = append(c.outbox, lines...)
	for line := range strings.Lines(lines) {
		if line, whole := strings.CutSuffix(line, "\n"); whole {
			c.remember(strings.TrimSuffix(line, "\r"))
		}
	}
}

// remember keeps a line for as long as it may turn out to be the password that is accepted. One
// that the server drops (FRAME-4 to FRAME-6) is answered otherwise.
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

// hasNoAnswer reports whether a prompt for the name would find none, as the input has ended.
func (c *client) hasNoAnswer() bool { return c.typedAll && c.name == "" && !c.answers }

// ---------------------------------------------------------------------------------------------
// 7. Away and back
// ---------------------------------------------------------------------------------------------

// isAway reports whether the connection was lost, and we are not back yet: what is typed is kept.
func (c *client) isAway() bool { return c.phase == away || c.phase == returning }

// lose begins to wait for the next try (BACK-1), or gives up after the last one (BACK-6).
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

// endRow ends the line that the server cannot end any more; but a name may be half typed behind the
// prompt for it.
func (c *client) endRow() {
	if c.tty.Begun != prompt {
		c.tty.EndRow()
	}
}

// keepUnsent keeps what was typed and not sent, unless it was for prompts: they are not asked
// again. A password that has not been typed yet is for no one (BACK-10).
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

// tryAgain connects once more, after the delay; the time until the welcome is limited.
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

// answerPrompt answers in the user's place, each prompt once; any other makes it a failed try.
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

// findPassword returns the password for our name, empty where there is none (BACK-3).
func (c *client) findPassword() string {
	if strings.EqualFold(c.proven.name, c.name) {
		return c.proven.password
	}
	return ""
}

// comeBack takes a line of the server's on the way back: the welcome, a refusal, or one to show.
func (c *client) comeBack(line, welcomed string) {
	if welcomed != "" && welcomed == c.name {
		c.link.conn.SetReadDeadline(time.Time{})
		c.announce("Reconnected as " + welcomed + "\n")
		c.enter(welcomed)
		return
	}
	if line != "" && welcomed == "" {
		c.show(line + "\n")
	}
	if welcomed != "" || strings.HasPrefix(line, "! ") {
		c.refuse()
	}
}

// refuse ends a try that did not bring us back (BACK-5).
func (c *client) refuse() { c.link.ended = true }

// giveUp leaves the terminal, and shows the lines that were kept and will not be sent (BACK-9)
// before the last words.
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

// ---------------------------------------------------------------------------------------------
// 8. Loop
// ---------------------------------------------------------------------------------------------

// run passes on what comes, both ways, until it ends for good, and returns the exit status.
func (c *client) run(ctx context.Context) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGCONT, unix.SIGWINCH)
	for !c.over {
		c.tty.Take()
		c.sendTyped()
		c.tty.Own = c.ownPrompt()
		if c.shown == nil { // so that the half-typed line is drawn once after many others
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

// isOver reports whether nothing more is to come of the connection, and the screen has all that
// came: what we say is to follow it.
func (c *client) isOver() bool {
	return c.link.ended && !c.link.sending &&
		c.shown == nil && len(c.tty.Out) == 0 && c.tty.MayShow()
}

// wait waits for one thing that happens, and acts on it.
func (c *client) wait(ctx context.Context, signals <-chan os.Signal) {
	var look <-chan time.Time
	if !c.tty.Ours { // no signal tells that it is again
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
			c.end("", 1) // standard output is gone
		}
	case <-look:
	}
}

// begin has work done that may wait for long, unless it is under way. What it returns is done
// afterwards, by run's goroutine.
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

// end ends the program, with these last words.
func (c *client) end(words string, status int) {
	if !c.over {
		c.over, c.words, c.status = true, words, status
	}
}

// ---------------------------------------------------------------------------------------------
// 9. Start and stop
// ---------------------------------------------------------------------------------------------

// catchSignals returns a context that ends at the first signal that is to end the program. A second
// one, or an end that takes too long, ends it at once. What was blocked is unblocked by package
// signal; what was ignored stays so, SIGTERM excepted (PROG-10).
func catchSignals(tty *terminal.Terminal) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Ignore(unix.SIGPIPE) // a write to a closed standard output fails, and run sees it
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
		return // the user did not want to wait
	case err != nil:
		var heart unix.Errno
		if errors.As(err, &heart) { // package net adds the operation and the address
			err = heart
		}
		fmt.Fprintf(os.Stderr, "cannot connect to %s: %v\n", o.Address(), err)
		os.Exit(1)
	}
	os.Exit(newClient(o, tty, conn).run(ctx))
}
