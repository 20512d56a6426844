// Command server is a chat server: one room, many users, lines of text over TCP. PROTOCOL.md is its
// contract.
//
//	go run server.go                listens on 127.0.0.1:8080
//	go run server.go --help         lists the options
//
// The path of a message:
//
//	socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket
//
// Invariants:
//
//  1. Only the section "Sockets" and `sendNews` receive from, send to, or close a connection.
//  2. Handlers never send. They append to the room's stream, which all users read, or to the queue
//     of one user.
//  3. Handlers never free a user. They mark it, and it is reaped at the end of the round.
//  4. The names of the users in the room are unique, ignoring case.
//  5. Text is bytes. It is checked once, and relayed unchanged.
//  6. Only `gate` decides whether a user's next line is processed.
//
// One goroutine, the owner, runs main and nearly everything else. Only the owner accesses the
// state, so there is no mutex here. Each other goroutine waits for one thing (a connection, input,
// space in a socket's buffer, a worker, the console, a signal), and then sends the owner a function
// that handles it. So the owner waits only for these events, and silent users cost nothing.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"chat/server/accounts"
	chatlog "chat/server/log"
	"chat/server/options"
	"chat/server/stream"

	"golang.org/x/sys/unix"
)

// ---------------------------------------- 1. Limits -----------------------------------------

const (
	maxName     = 32               // bytes of a name
	maxLine     = 1024             // bytes of a line from a client or of /who, without its end
	maxRefusals = 5                // refused names on one connection; the last one ends it
	maxWrong    = 3                // wrong passwords on one connection; the last one ends it
	minPassword = 8                // bytes of a new password
	maxInbox    = 64*1024 + 1      // bytes of one user's unprocessed input: 64 KiB, and one to notice its end
	maxGarbage  = 32 * 1024 * 1024 // bytes of memory that may be garbage, approximately
	maxConsole  = 256              // bytes of the console in one event: --max-queue may be small
	roundSize   = 256 * 1024       // bytes processed and queued in a round before all queues are sent
	roundEvents = 256              // events handled in a round before all queues are sent
	sendPieces  = 64               // pieces sent in one system call
)

const (
	lingerTime    = time.Second            // limit after our side has ended
	drainTime     = 10 * time.Second       // limit to send a queue before our side ends
	finishTime    = 500 * time.Millisecond // limit at a shutdown, to process what was received before
	lastWordsTime = 250 * time.Millisecond // limit at the end, to write the last lines
	acceptPause   = 100 * time.Millisecond // without accepting when there are no descriptors left
	tick          = 10 * time.Millisecond  // the least time between two sweeps
	never         = time.Duration(math.MaxInt64)
)

// ----------------------------------------- 2. Types -----------------------------------------

// A phase is the state of a connection.
type phase int

const (
	naming    phase = iota // asked for a name
	password               // asked for the password of the name that it gave
	chatting               // in the room
	leaving                // has left the room: its queue is sent, its input is discarded
	lingering              // our side has ended: its input is discarded until its side ends too
	gone                   // will be reaped
)

// A gateState is whether a user's next line is processed now, and if not, why.
type gateState int

const (
	open      gateState = iota
	full                // its queue is half full: its own commands must not get it dropped (LIMIT-6)
	throttled           // it has reached its --rate (LIMIT-5)
	busy                // it has a job, waiting or running (ACCT-12)
	closed              // it is leaving or gone
)

// A proof is an account that a user has proven to own: lower-cased name and hash (ACCT-5).
type proof struct{ name, hash string }

// A user is one connection.
type user struct {
	conn     *net.TCPConn
	raw      syscall.RawConn // to wait for it
	socket   int             // its descriptor, which is valid until `reap` closes it
	addr     string          // for the log
	phase    phase
	name     string        // in the phase password: the name that it asks for
	inbox    []byte        // received, and not processed yet
	cursor   stream.Cursor // its queue
	refusals int
	wrong    int // wrong passwords
	proven   proof
	job      *accounts.Job // what a worker does for it
	deadline time.Duration // when the time for its phase ends
	left     time.Duration // that was left when a password check suspended the deadline
	due      time.Duration // for --rate: when its next line may be processed
	reply    int           // bytes that its last /who added to its queue, until they are sent

	ended      bool // the client has ended its side
	touched    bool // is in server.touched
	awaitsData bool // awaitInput is running
	awaitsRoom bool // the socket's buffer is full, and awaitRoom is running
}

// A server is all state of the server.
type server struct {
	options  options.Options
	listener *net.TCPListener
	address  string
	events   chan func()        // each handles one event, and is called by the owner
	accounts *accounts.Accounts // nil without --accounts
	output   *chatlog.Sink
	errors   *chatlog.Sink
	log      *chatlog.Log

	stream      *stream.Stream     // the lines of the room
	news        stream.Cursor      // the part that was not sent to the room yet
	users       map[string]*user   // in the room, by lower-cased name
	connections map[*user]struct{} // all that are not gone
	counted     int                // those that count for LIMIT-2
	gone        []*user            // those to reap

	touched []*user // users to process and then flush, even if the room has no news
	load    int     // bytes processed and queued since all queues were last sent
	buffer  []byte  // to receive with
	console []byte  // read from standard input, and not processed yet

	began     time.Time     // all other times are relative to it
	now       time.Duration // when the round began
	alarm     *time.Timer   // for the next sweep
	sweepAt   time.Duration // when the next deadline may pass
	stopAsked bool          // a signal or the operator has asked for a shutdown
	stopping  bool          // the shutdown has begun: everyone was dismissed
}

// ----------------------------------------- 3. Lines -----------------------------------------

// takeLine removes and returns the next complete line, without its end, if there is one.
func takeLine(inbox *[]byte) (string, bool) {
	line, rest, isLine := bytes.Cut(*inbox, []byte("\n"))
	if !isLine {
		*inbox = slices.Clone(line[:min(len(line), maxLine+2)]) // enough to see that it is too long
		return "", false
	}
	*inbox = rest // a slice: nothing is copied for each line
	if len(rest) == 0 {
		*inbox = nil
	}
	return strings.TrimSuffix(string(line), "\r"), true
}

// hasLine tells whether an inbox has a complete line, or is full of one that takeLine must shorten.
func hasLine(inbox []byte) bool {
	return bytes.IndexByte(inbox, '\n') >= 0 || len(inbox) == maxInbox
}

// checkLine returns the error of a line, or "" (FRAME-4 to FRAME-6, in that order).
func checkLine(line string) string {
	switch {
	case len(line) > maxLine:
		return fmt.Sprintf("! line too long (limit %d bytes)\n", maxLine)
	case !utf8.ValidString(line):
		return "! not valid UTF-8\n"
	case strings.ContainsFunc(line, isControl):
		return "! control characters are not allowed\n"
	}
	return ""
}

// isControl tells whether a character is one of C0 except TAB, DEL, C1, the line and paragraph
// separators, and the bidirectional controls (FRAME-6).
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

func trim(text string) string {
	return strings.Trim(text, " \t")
}

// isBlank tells whether a text is empty or has only spaces and tabs.
func isBlank(text string) bool {
	return trim(text) == ""
}

// lower converts ASCII letters to lower case. (strings.ToLower would also convert the Kelvin sign
// to k, so that it would match another name.)
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, text)
}

// ----------------------------------------- 4. Room ------------------------------------------

const nameLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

// find finds the user with a name, ignoring case.
func (s *server) find(name string) *user {
	return s.users[lower(name)]
}

// broadcast queues a line for everyone in the room except its sender, and for the operator.
func (s *server) broadcast(line string, sender *user) {
	s.load += len(line)
	s.stream.Append(line)
	if sender != nil {
		sender.cursor.Skip(len(line))
	}
	if !s.options.Quiet {
		s.output.Put(line)
	}
}

// say broadcasts and logs a message (CHAT-1, CHAT-5).
func (s *server) say(name, line string, sender *user) {
	text := strings.TrimPrefix(line, "/")
	s.broadcast(name+": "+text+"\n", sender)
	s.log.LogEvent("message", "name", name, "text", text)
}

// tell queues a text for one user.
func (s *server) tell(u *user, text string) {
	s.load += len(text)
	u.cursor.Insert(text)
	s.touch(u)
}

// touch lists a user, so that its lines are processed and its queue is sent.
func (s *server) touch(u *user) {
	if !u.touched {
		u.touched = true
		s.touched = append(s.touched, u)
	}
}

// nameIsValid tells whether a name has the form that JOIN-2 requires.
func nameIsValid(name string) bool {
	return name != "" && len(name) <= maxName && strings.Trim(name, nameLetters) == ""
}

// nameError returns why a user cannot have a name, or "" (JOIN-2, JOIN-3, ACCT-6, CMD-4).
func (s *server) nameError(u *user, name string) string {
	if !nameIsValid(name) {
		return fmt.Sprintf("! invalid name: use 1 to %d letters, digits, \"_\" or \"-\"\n", maxName)
	}
	owner := s.find(name)
	isRecased := owner == u && name != u.name
	isReserved := lower(name) == "server" || lower(name) == "password"
	switch {
	case isReserved || owner != nil && !isRecased:
		return "! name in use: " + name + "\n"
	case s.options.MembersOnly && s.accounts.HashOf(name) == "":
		return "! name not registered: " + name + "\n"
	}
	return ""
}

// hasProven tells whether a name is the account that the user has proven to own (ACCT-5).
func (s *server) hasProven(u *user, name string) bool {
	hash := s.accounts.HashOf(name)
	return hash != "" && u.proven == proof{lower(name), hash}
}

// enter lets a user into the room. Its cursor starts after its own join notice.
func (s *server) enter(u *user, name string) {
	s.broadcast(name+" has joined the chat\n", nil)
	u.phase, u.name = chatting, name
	if !u.ended {
		u.deadline = never
	}
	s.users[lower(name)] = u
	u.cursor.Attach()
	welcome := "Welcome, %s (%d online). Type /help for commands.\n"
	s.tell(u, fmt.Sprintf(welcome, name, len(s.users)))
	s.log.LogEvent("join", "name", name, "addr", u.addr)
}

// leave takes a user out of the room: it frees the name, and tells the others.
func (s *server) leave(u *user, reason string) {
	delete(s.users, lower(u.name))
	u.cursor.Detach()
	s.broadcast(u.name+" has left the chat\n", nil)
	s.log.LogEvent("leave", "name", u.name, "addr", u.addr, "reason", reason)
}

// --------------------------------------- 5. Commands ----------------------------------------

const (
	unknownCommand = "! unknown command: /%s (try /help)\n"
	unchanged      = "! accounts cannot be changed now\n"
)

func (s *server) cmdHelp(u *user, _ string) {
	words := ""
	if s.accounts != nil {
		words = "/register PASSWORD, /passwd PASSWORD, /unregister, "
	}
	s.tell(u, "Commands: /help, /who, /msg NAME TEXT, /nick NAME, "+words+
		"/quit (// to begin a message with /)\n")
}

// cmdWho is /who. Its reply may exceed LIMIT-1, and must not get the user dropped (LIMIT-6).
func (s *server) cmdWho(u *user, _ string) {
	before := u.cursor.Waiting()
	s.tell(u, s.whoLines())
	u.reply = u.cursor.Waiting() - before
}

// whoLines lists the users in the room, on as many lines as needed (CMD-2).
func (s *server) whoLines() string {
	var lines []string
	head := fmt.Sprintf("Online (%d): ", len(s.users))
	line := head
	for _, key := range slices.Sorted(maps.Keys(s.users)) {
		name := s.users[key].name
		if len(line)+len(", ")+len(name) > maxLine {
			lines = append(lines, line)
			line = head
		}
		if line != head {
			line += ", "
		}
		line += name
	}
	return strings.Join(append(lines, line, ""), "\n")
}

func (s *server) cmdMsg(u *user, rest string) {
	name, text, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	text = strings.TrimLeft(text, " ")
	other := s.find(name)
	switch {
	case name == "" || isBlank(text):
		s.tell(u, "! usage: /msg NAME TEXT\n")
	case other == nil:
		s.tell(u, "! no such user: "+name+"\n")
	case other == u:
		s.tell(u, "! cannot message yourself\n")
	default:
		s.tell(other, "(private) "+u.name+": "+text+"\n")
		s.log.LogEvent("private", "name", u.name, "to", other.name)
	}
}

func (s *server) cmdNick(u *user, rest string) {
	name := trim(rest)
	problem := s.nameError(u, name)
	if problem == "" && s.accounts.HashOf(name) != "" && !s.hasProven(u, name) {
		problem = "! name registered: " + name + "\n"
	}
	if problem != "" {
		s.tell(u, problem)
		return
	}
	delete(s.users, lower(u.name))
	s.users[lower(name)] = u
	s.broadcast(u.name+" is now known as "+name+"\n", nil)
	s.log.LogEvent("rename", "name", u.name, "to", name)
	u.name = name
}

func (s *server) cmdRegister(u *user, rest string) {
	s.changeAccount(u, accounts.Register, rest, s.accounts.HashOf(u.name) == "")
}

func (s *server) cmdPasswd(u *user, rest string) {
	s.changeAccount(u, accounts.Passwd, rest, s.hasProven(u, u.name))
}

func (s *server) cmdUnregister(u *user, _ string) {
	s.changeAccount(u, accounts.Unregister, "", s.hasProven(u, u.name))
}

// changeAccount has a worker change the user's account, if `mayDo` says that it is allowed. The
// user's next lines wait for the reply (ACCT-10).
func (s *server) changeAccount(u *user, task accounts.Task, rest string, mayDo bool) {
	given := strings.TrimLeft(rest, " ")
	isGood := len(given) >= minPassword && len(given) <= accounts.MaxPassword
	if !mayDo {
		s.tell(u, strings.Replace(answers[task].refused, "NAME", u.name, 1))
	} else if !isGood && task != accounts.Unregister {
		s.tell(u, fmt.Sprintf("! password must be %d to %d bytes\n", minPassword, accounts.MaxPassword))
	} else if u.job = s.accounts.Change(u, task, u.name, given); u.job == nil { // ACCT-13
		s.tell(u, unchanged)
	}
}

// answers are the replies after an account was changed, and where it exists already or does not.
var answers = map[accounts.Task]struct{ done, refused string }{
	accounts.Register:   {"Registered NAME\n", "! already registered: NAME\n"},
	accounts.Passwd:     {"Password changed\n", "! not registered: NAME\n"},
	accounts.Unregister: {"Unregistered NAME\n", "! not registered: NAME\n"},
}

// accountChanged tells a user the result of its /register, /passwd or /unregister.
func (s *server) accountChanged(u *user, job *accounts.Job) {
	answer := unchanged
	switch {
	case job.Done:
		answer = answers[job.Task].done
		u.proven = proof{lower(job.Name), job.NewHash}
	case job.Err == nil:
		answer = answers[job.Task].refused
	}
	s.tell(u, strings.Replace(answer, "NAME", job.Name, 1))
}

func (s *server) cmdQuit(u *user, _ string) {
	s.tell(u, "Goodbye, "+u.name+"\n")
	s.dismiss(u, "quit")
}

var commands = map[string]struct {
	carryOut      func(s *server, u *user, rest string)
	needsAccounts bool
}{
	"help":       {(*server).cmdHelp, false},
	"who":        {(*server).cmdWho, false},
	"msg":        {(*server).cmdMsg, false},
	"nick":       {(*server).cmdNick, false},
	"quit":       {(*server).cmdQuit, false},
	"register":   {(*server).cmdRegister, true},
	"passwd":     {(*server).cmdPasswd, true},
	"unregister": {(*server).cmdUnregister, true},
}

// splitCommand splits "/WORD REST" into WORD and REST; isCommand is false for a message.
func splitCommand(line string) (word, rest string, isCommand bool) {
	if !strings.HasPrefix(line, "/") || strings.HasPrefix(line, "//") {
		return "", "", false
	}
	word, rest, _ = strings.Cut(line[1:], " ")
	return word, rest, true
}

// ----------------------------------- 6. Lines to actions ------------------------------------

const (
	namePrompt     = "Enter your screen name: "
	passwordPrompt = "Password: "
)

// gate returns whether a user's next line is processed now, and if not, why.
func (s *server) gate(u *user) gateState {
	switch {
	case u.phase > chatting:
		return closed
	case u.job != nil:
		return busy
	case u.phase < chatting:
		return open
	case u.cursor.Waiting() > s.options.MaxQueue/2:
		return full
	case s.now < u.due:
		return throttled
	}
	return open
}

// takeUp processes a user's complete lines, as long as its gate is open and the round has room.
func (s *server) takeUp(u *user) {
	for s.roundHasRoom() && s.gate(u) == open {
		line, isLine := takeLine(&u.inbox)
		if !isLine {
			break
		}
		s.load += len(line) + 1
		if s.options.Rate > 0 && u.phase == chatting { // a burst may use a whole second
			share := time.Second / time.Duration(s.options.Rate)
			u.due = max(u.due, s.now+share-time.Second) + share
		}
		s.handleLine(u, line)
	}
}

func (s *server) handleLine(u *user, line string) {
	switch u.phase {
	case naming:
		s.handleName(u, line)
	case password:
		s.handlePassword(u, line)
	default:
		s.handleChat(u, line)
	}
}

// handleName processes a line as the answer to the prompt for a name.
func (s *server) handleName(u *user, line string) {
	name := trim(line)
	if problem := checkLine(line); problem != "" {
		s.refuseName(u, "line", problem)
	} else if problem := s.nameError(u, name); problem != "" {
		s.refuseName(u, "name", problem)
	} else if s.accounts.HashOf(name) != "" {
		u.phase, u.name = password, name
		s.tell(u, passwordPrompt)
	} else {
		s.enter(u, name)
	}
}

// refuseName tells why a name is refused, and asks again, up to the fifth refusal (JOIN-7).
func (s *server) refuseName(u *user, reason, problem string) {
	u.refusals++
	s.askAgain(u, reason, problem, namePrompt, u.refusals < maxRefusals)
}

// handlePassword processes a line, unchanged, as the answer to the prompt for a password.
func (s *server) handlePassword(u *user, line string) {
	if problem := checkLine(line); problem != "" {
		s.refusePassword(u, "line", problem)
	} else {
		if !u.ended { // the check does not count as time for joining (JOIN-8)
			u.left, u.deadline = u.deadline-s.now, never
		}
		u.job = s.accounts.Check(u, u.name, line)
	}
}

// passwordChecked lets a user in, if its password was right and its name is free (ACCT-3, ACCT-4).
func (s *server) passwordChecked(u *user, job *accounts.Job) {
	if !u.ended {
		s.setDeadline(u, u.left)
	}
	if !job.Done || s.accounts.HashOf(job.Name) != job.Hash {
		s.refusePassword(u, "password", "! wrong password\n")
		return
	}
	u.proven = proof{lower(job.Name), job.Hash}
	if problem := s.nameError(u, job.Name); problem != "" {
		u.phase = naming
		s.refuseName(u, "name", problem)
	} else {
		s.enter(u, job.Name)
	}
}

// refusePassword tells that a password is refused, and asks again, up to the third one (ACCT-2).
func (s *server) refusePassword(u *user, reason, problem string) {
	u.wrong++
	s.askAgain(u, reason, problem, passwordPrompt, u.wrong < maxWrong)
}

// askAgain logs a refusal, tells the user, and repeats the prompt or ends the connection.
func (s *server) askAgain(u *user, reason, problem, prompt string, mayTry bool) {
	s.log.LogEvent("refuse", "addr", u.addr, "reason", reason)
	if mayTry {
		s.tell(u, problem+prompt)
	} else {
		s.tell(u, problem+"! too many attempts\n")
		s.dismiss(u, "")
	}
}

// handleChat processes a line as a message or a command.
func (s *server) handleChat(u *user, line string) {
	word, rest, isCommand := splitCommand(line)
	if problem := checkLine(line); problem != "" {
		s.log.LogEvent("refuse", "addr", u.addr, "reason", "line")
		s.tell(u, problem)
	} else if isCommand {
		s.handleCommand(u, word, rest)
	} else if !isBlank(line) {
		s.say(u.name, line, u)
	}
}

func (s *server) handleCommand(u *user, word, rest string) {
	command, isKnown := commands[lower(word)]
	if !isKnown || command.needsAccounts && s.accounts == nil {
		s.tell(u, fmt.Sprintf(unknownCommand, word))
	} else {
		command.carryOut(s, u, rest)
	}
}

// jobDone acts on a finished job. A change is logged even if its user is gone: it was made.
func (s *server) jobDone(job *accounts.Job) {
	s.accounts.Finished(job)
	if job.Err != nil {
		s.log.LogEvent("error", "error", job.Err.Error())
	} else if job.Done && job.Task != accounts.Check {
		s.log.LogEvent("account", "name", job.Name, "reason", string(job.Task))
	}
	u, isUser := job.Owner.(*user)
	if !isUser || s.gate(u) == closed {
		return
	}
	u.job = nil
	if job.Task == accounts.Check {
		s.passwordChecked(u, job)
	} else {
		s.accountChanged(u, job)
	}
	s.touch(u)
}

// roundHasRoom tells whether this round has room for more. If not, all queues are sent first.
// Otherwise the server could drop a user who reads fast enough, but had no chance to read.
func (s *server) roundHasRoom() bool {
	return s.load <= min(roundSize, s.options.MaxQueue/2)
}

// ---------------------------------------- 7. Console ----------------------------------------

func (s *server) opHelp(_ string) {
	s.output.Put("Commands: /help, /who, /kick NAME, /shutdown (// to begin an announcement with /)\n")
}

func (s *server) opWho(_ string) {
	s.output.Put(s.whoLines())
}

func (s *server) opKick(rest string) {
	name := trim(rest)
	u := s.find(name)
	switch {
	case name == "":
		s.output.Put("! usage: /kick NAME\n")
	case u == nil:
		s.output.Put("! no such user: " + name + "\n")
	default:
		s.tell(u, "! kicked by the operator\n")
		s.dismiss(u, "kick")
	}
}

func (s *server) opShutdown(_ string) {
	s.stopAsked = true
}

var opCommands = map[string]func(s *server, rest string){
	"help":     (*server).opHelp,
	"who":      (*server).opWho,
	"kick":     (*server).opKick,
	"shutdown": (*server).opShutdown,
}

// consoleLine processes one line from the operator: an announcement or a command.
func (s *server) consoleLine(line string) {
	word, rest, isCommand := splitCommand(line)
	command := opCommands[lower(word)]
	if problem := checkLine(line); problem != "" {
		s.output.Put(problem)
	} else if command != nil {
		command(s, rest)
	} else if isCommand {
		s.output.Put(fmt.Sprintf(unknownCommand, word))
	} else if !isBlank(line) {
		s.say("server", line, nil)
	}
}

// takeConsole processes the operator's complete lines, but none after /shutdown (OPER-6).
func (s *server) takeConsole(text []byte) {
	s.console = append(s.console, text...)
	for {
		line, isLine := takeLine(&s.console)
		if !isLine || s.stopAsked {
			return
		}
		s.consoleLine(line)
	}
}

// readConsole sends the owner what the operator types. It is one goroutine, and ends with standard
// input; an incomplete last line is ignored (FRAME-8).
func (s *server) readConsole() {
	for {
		buffer := make([]byte, maxConsole)
		n, err := os.Stdin.Read(buffer)
		if errors.Is(err, syscall.EAGAIN) { // another program has made our shared input non-blocking
			unix.Poll([]unix.PollFd{{Fd: 0, Events: unix.POLLIN}}, -1)
			continue
		}
		if err != nil {
			return
		}
		s.events <- func() { s.takeConsole(buffer[:n]) }
	}
}

// ---------------------------------------- 8. Sockets ----------------------------------------

// acceptUsers sends the owner new connections. It is one goroutine, and ends with the listener.
func (s *server) acceptUsers() {
	for isTroubled := false; ; {
		conn, err := s.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err == nil {
			s.events <- func() { s.greet(conn) }
		} else if !isTroubled {
			problem := "cannot accept connections: " + err.Error()
			s.events <- func() { s.log.LogEvent("error", "error", problem) }
		}
		isTroubled = err != nil
		if isTroubled { // no descriptors or memory left: try again later (LIMIT-3)
			time.Sleep(acceptPause)
		}
	}
}

// greet asks a new connection for its name, or refuses it where the server is full (LIMIT-2).
func (s *server) greet(conn *net.TCPConn) {
	// In the first second, too, N lines are processed at once (LIMIT-5).
	u := &user{conn: conn, addr: showAddress(conn.RemoteAddr()), due: -time.Second}
	u.cursor.Stream = s.stream
	u.raw, _ = conn.SyscallConn() // fails only for a nil connection
	u.raw.Control(func(socket uintptr) { u.socket = int(socket) })
	s.log.LogEvent("connect", "addr", u.addr)
	s.connections[u] = struct{}{}
	s.counted++
	switch {
	case s.stopping: // accepted just before the listener was closed
		s.tell(u, shutdownNotice)
		s.dismiss(u, "")
	case s.counted > s.options.MaxClients:
		s.log.LogEvent("refuse", "addr", u.addr, "reason", "full")
		s.tell(u, "! server full\n")
		s.dismiss(u, "")
	default:
		s.tell(u, namePrompt)
		s.setDeadline(u, s.options.JoinTimeout)
	}
}

// setDeadline sets when a user's time ends, from now.
func (s *server) setDeadline(u *user, after time.Duration) {
	u.deadline = s.now + after
	s.sweepBy(u.deadline)
}

// awaitInput waits until a user's socket is readable, or after its end until it is reset. It is a
// goroutine.
func (s *server) awaitInput(u *user, event int16) {
	u.raw.Read(func(socket uintptr) bool { return isReady(socket, event) })
	s.events <- func() {
		u.awaitsData = false
		s.receive(u)
	}
}

// awaitRoom waits until a user's socket is writable. It is a goroutine.
func (s *server) awaitRoom(u *user) {
	u.raw.Write(func(socket uintptr) bool { return isReady(socket, unix.POLLOUT) })
	s.events <- func() {
		u.awaitsRoom = false
		s.touch(u)
	}
}

// isReady tells whether a socket is readable or writable now; a broken one is both.
func isReady(socket uintptr, event int16) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(socket), Events: event}}, 0)
	if err == syscall.EINTR {
		return isReady(socket, event)
	}
	return n > 0 || err != nil
}

// receive receives once from a user. The lines are processed when the user's turn comes.
func (s *server) receive(u *user) {
	if u.phase == gone {
		return
	}
	n, err := unix.Read(u.socket, s.buffer[:maxInbox-len(u.inbox)])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
	case err != nil || u.ended: // what comes after the end is a reset
		s.drop(u, "reset")
	case n == 0:
		s.hangUp(u)
	case s.gate(u) != closed:
		u.inbox = slices.Concat(u.inbox, s.buffer[:n])
	}
	s.touch(u)
}

// flush sends a user's queue, as far as the kernel takes it, and acts on what is left. While the
// socket's buffer is full it tries only before it drops the user (LIMIT-1).
func (s *server) flush(u *user) {
	if u.phase == gone {
		return
	}
	var err error
	if !u.awaitsRoom || s.isBehind(u) {
		err = s.send(u)
	}
	switch {
	case err != nil:
		s.drop(u, "reset")
	case s.isBehind(u):
		s.drop(u, "slow")
	case u.phase != leaving || u.cursor.Waiting() > 0: // nothing changes
	case u.ended || u.conn.CloseWrite() != nil:
		s.drop(u, "")
	default: // its queue was sent, and our side has ended
		u.phase = lingering
		s.counted--
		s.setDeadline(u, min(lingerTime, u.deadline-s.now))
	}
	s.watch(u)
}

// watch starts to wait for what a user needs next, and gives a turn to a user with lines to
// process. After the signal to stop, input is received only from users that are leaving (STOP-2).
func (s *server) watch(u *user) {
	if u.phase == gone {
		return
	}
	gate := s.gate(u)
	isWanted := gate == closed || !s.stopAsked
	if isWanted && !u.awaitsData && (u.ended || len(u.inbox) < maxInbox) {
		u.awaitsData = true
		event := int16(unix.POLLIN)
		if u.ended {
			event = 0 // poll reports a reset all the same
		}
		go s.awaitInput(u, event)
	}
	if u.cursor.Waiting() > 0 && !u.awaitsRoom {
		u.awaitsRoom = true
		go s.awaitRoom(u)
	}
	isMore := hasLine(u.inbox)
	switch {
	case isMore && gate == open:
		s.touch(u)
	case isMore && gate == throttled:
		s.sweepBy(u.due)
	case !isMore && u.ended && gate < busy: // all lines were processed
		s.retire(u, "eof")
	}
}

// send sends a user's queue, as far as the kernel takes it now.
func (s *server) send(u *user) error {
	u.cursor.Advance(0)
	for u.cursor.Waiting() > 0 {
		n, err := unix.Writev(u.socket, u.cursor.Pieces(sendPieces))
		if err == syscall.EAGAIN || err == syscall.EINTR {
			break
		}
		if err != nil {
			return err
		}
		u.cursor.Advance(n)
	}
	if u.cursor.Waiting() <= s.options.MaxQueue {
		u.reply = 0
	}
	return nil
}

// isBehind tells whether a user's queue is too long, its last /who reply excepted (LIMIT-1).
func (s *server) isBehind(u *user) bool {
	return u.phase == chatting && u.cursor.Waiting() > s.options.MaxQueue+u.reply
}

// dismiss ends a connection in order: its queue is sent first (LEAVE-4).
func (s *server) dismiss(u *user, reason string) {
	s.retire(u, reason)
	if !u.ended { // otherwise the time is running since then
		s.setDeadline(u, drainTime)
	}
}

// hangUp: the client has ended its side. Its lines and queue are handled first (LEAVE-2).
func (s *server) hangUp(u *user) {
	u.ended = true
	if u.phase == lingering {
		s.drop(u, "")
	} else if s.gate(u) != closed {
		s.setDeadline(u, drainTime)
	}
}

// retire takes a user out of the room or away from its prompt, and discards its further input.
func (s *server) retire(u *user, reason string) {
	if u.job != nil {
		u.job.Forget()
	}
	if u.phase == chatting {
		s.leave(u, reason)
	}
	u.phase = leaving
	u.inbox = nil
	s.touch(u)
}

// drop ends a connection now, and discards its queue. A user in the room needs a reason.
func (s *server) drop(u *user, reason string) {
	if u.phase == gone {
		return
	}
	if u.phase != lingering {
		s.counted--
	}
	u.cursor.Clear()
	s.retire(u, reason)
	u.phase, u.deadline = gone, never
	delete(s.connections, u)
	s.gone = append(s.gone, u)
}

// reap closes the connections of the users that are gone, which ends their goroutines.
func (s *server) reap() {
	for _, u := range s.gone {
		u.conn.Close()
	}
	s.gone = nil
}

// ----------------------------------------- 9. Loop ------------------------------------------

// run serves until the server was stopped and all users are gone. Its goroutine is the owner. All
// methods of the server run in it, except those that say that they are a goroutine.
func (s *server) run() {
	for !s.stopping || len(s.connections) > 0 {
		s.oneRound()
	}
}

// oneRound waits for events, handles them, and sends all queues.
func (s *server) oneRound() {
	s.output.Flush()
	s.log.Flush()
	act := func() {}
	if len(s.touched) == 0 {
		act = <-s.events
	}
	runtime.Gosched() // lets other goroutines add their events, so that one round handles them all
	s.now = time.Since(s.began)
	act()
	for n := 0; n < roundEvents && len(s.events) > 0 && s.roundHasRoom(); n++ {
		(<-s.events)()
	}
	s.takeTurns()
	if s.stopAsked && !s.stopping {
		s.stop()
	}
	s.flushAll()
	s.reap()
}

// takeTurns processes the lines of users in turn; who gets no turn now is first in the next round.
func (s *server) takeTurns() {
	heard := 0
	for ; heard < len(s.touched) && s.roundHasRoom(); heard++ {
		s.takeUp(s.touched[heard])
	}
	s.touched = slices.Concat(s.touched[heard:], s.touched[:heard])
}

// flushAll sends the news of the room, and flushes the listed users. A user who is dropped here is
// listed again, so that the next round, which sends the leave notice, starts at once.
func (s *server) flushAll() {
	s.load = 0
	s.sendNews()
	users := s.touched
	s.touched = nil
	for _, u := range users {
		u.touched = false
		s.flush(u)
	}
}

// sendNews sends the room's new text to each user in it who was sent everything before. The pieces
// are the same for all of them, and need one system call for each. The few others are listed.
func (s *server) sendNews() {
	length := s.news.Waiting()
	if length == 0 {
		return
	}
	pieces := s.news.Pieces(sendPieces)
	for _, u := range s.users {
		n := 0
		if u.cursor.IsLevelWith(&s.news) && !u.awaitsRoom {
			n, _ = unix.Writev(u.socket, pieces) // `flush` tries again, and handles the error
			u.cursor.Advance(max(0, n))
		}
		if n < length {
			s.touch(u)
		}
	}
	s.news.Advance(length)
}

// sweepBy schedules a sweep at a time, or one tick from now at the earliest.
func (s *server) sweepBy(at time.Duration) {
	at = max(at, s.now+tick)
	if at < s.sweepAt {
		s.sweepAt = at
		s.alarm.Reset(at - s.now)
	}
}

// sweep acts on all deadlines that have passed, and lists users with lines: --rate may allow one.
func (s *server) sweep() {
	s.sweepAt = never
	for u := range s.connections {
		if u.deadline <= s.now {
			s.expire(u)
		}
		s.sweepBy(u.deadline)
		if hasLine(u.inbox) {
			s.touch(u)
		}
	}
}

// expire ends a connection whose deadline has passed.
func (s *server) expire(u *user) {
	switch {
	case u.phase > chatting:
		s.drop(u, "")
	case u.ended: // its lines or its job took longer than drainTime
		s.retire(u, "eof")
		s.setDeadline(u, lingerTime)
	default:
		s.log.LogEvent("refuse", "addr", u.addr, "reason", "timeout")
		s.tell(u, "\n! timed out\n")
		s.dismiss(u, "")
	}
}

// ------------------------------------ 10. Start and stop ------------------------------------

const shutdownNotice = "Server is shutting down\n"

// fail ends the program with a message, and does not wait long for standard error.
func (s *server) fail(status int, message string) {
	s.errors.Put(message)
	s.errors.Finish(time.Now().Add(lastWordsTime))
	os.Exit(status)
}

// start opens accounts, log and listener, and prints the ready line (PROG-3); or ends the program.
func (s *server) start() {
	var err error
	if s.options.HasAccounts {
		report := func(job *accounts.Job) { s.events <- func() { s.jobDone(job) } }
		s.accounts, err = accounts.Open(s.options.Accounts, nameIsValid, report)
	}
	if err == nil && s.options.HasLog {
		s.log, err = chatlog.OpenLog(s.options.Log, s.errors)
	}
	if err != nil {
		s.fail(1, err.Error()+"\n")
	}
	address := net.JoinHostPort(s.options.Host, strconv.Itoa(s.options.Port))
	if s.listener, err = listenOn(address); err != nil {
		s.fail(1, fmt.Sprintf("cannot listen on %s: %s\n", address, err))
	}
	s.address = showAddress(s.listener.Addr())
	s.log.LogEvent("start", "addr", s.address)
	s.output.Put("Listening on " + s.address + "\n")
	go s.acceptUsers()
	go s.readConsole()
}

// stop begins the shutdown: it processes earlier input, then dismisses everyone (STOP-1).
func (s *server) stop() {
	s.listener.Close()
	s.finishTurns()
	s.now = time.Since(s.began)
	s.stopping = true
	s.broadcast(shutdownNotice, nil)
	s.log.LogEvent("shutdown", "addr", s.address)
	for u := range s.connections {
		if u.phase < chatting && u.job == nil { // a prompt is pending
			s.tell(u, "\n")
		}
		if u.phase < chatting {
			s.tell(u, shutdownNotice)
		}
		if u.phase <= chatting {
			u.phase = leaving // without `leave`: there are no notices now (STOP-2)
			s.retire(u, "")
		}
		s.setDeadline(u, lingerTime) // STOP-3
	}
	clear(s.users)
}

// finishTurns processes what was received before the signal: it precedes the notice (STOP-2).
func (s *server) finishTurns() {
	end := time.Now().Add(finishTime)
	for time.Now().Before(end) && len(s.events) > 0 {
		(<-s.events)()
	}
	for time.Now().Before(end) && len(s.touched) > 0 {
		s.takeTurns()
		s.flushAll()
	}
}

// catchSignals lets the first stop signal shut the server down, and a second one end the process
// (STOP-5). SIGINT and SIGHUP stay ignored if they were, unless SIGHUP reopens the log or reloads
// the accounts (PROG-10).
func (s *server) catchSignals() {
	// Instead of these signals, a call fails, and this is handled: writing to a closed pipe,
	// writing beyond the limit of a file's size (LOG-4), reading the terminal in the background
	// (OPER-2).
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ, syscall.SIGTTIN, syscall.SIGTTOU)
	stops, hangUps := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGINT) {
		signal.Notify(stops, syscall.SIGINT)
	}
	if s.options.HasLog || s.options.HasAccounts {
		signal.Notify(hangUps, syscall.SIGHUP)
	} else if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(stops, syscall.SIGHUP)
	}
	go func() {
		for range hangUps {
			s.events <- s.reload
		}
	}()
	go func() {
		<-stops
		go func() { s.events <- func() { s.stopAsked = true } }()
		<-stops
		os.Exit(1)
	}()
}

// reload acts on SIGHUP: it reopens the log (LOG-7) and reloads the accounts (FILE-4).
func (s *server) reload() {
	if s.options.HasLog {
		s.log.Reopen()
	}
	if s.accounts != nil {
		s.accounts.Reload()
	}
}

// listenOn listens on the first IPv4 address of the host, or else on its first address (PROG-1):
// ResolveTCPAddr chooses so. Accepted connections inherit the options set here (LEAVE-5). Package
// net sets TCP_NODELAY (FRAME-9), and package os has raised the limit of descriptors (LIMIT-3).
func listenOn(hostAndPort string) (*net.TCPListener, error) {
	address, err := net.ResolveTCPAddr("tcp", hostAndPort)
	if err != nil {
		return nil, err
	}
	network := "tcp"
	if address.IP.To4() != nil {
		network = "tcp4" // with "tcp", 0.0.0.0 would include IPv6
	}
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: time.Minute, Count: 4} // every 15 s by default
	config := net.ListenConfig{KeepAliveConfig: keepAlive, Control: limitSilence}
	config.SetMultipathTCP(false) // with it, connections would not inherit all options
	listener, err := config.Listen(context.Background(), network, address.String())
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// limitSilence ends connections whose peer acknowledges nothing for two minutes (LEAVE-5), where
// the system has this option.
func limitSilence(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(socket uintptr) {
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 120_000)
	})
}

// showAddress formats an address as PROG-3 requires.
func showAddress(address net.Addr) string {
	a := address.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// boundGarbage limits the garbage to about maxGarbage (LIMIT-4). By default, Go lets it grow to the
// size of the live heap. A finalizer runs after each collection, and sets the next limit.
func boundGarbage() {
	type sentinel [16]byte
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var adjust func(*sentinel)
	adjust = func(mark *sentinel) {
		metrics.Read(live)
		percent := 100 * maxGarbage / max(1, int(live[0].Value.Uint64()))
		debug.SetGCPercent(min(100, max(10, percent)))
		runtime.SetFinalizer(mark, adjust)
	}
	adjust(new(sentinel))
}

func newServer() *server {
	room := stream.New()
	complaints := chatlog.NewSink("standard error", os.Stderr, nil)
	s := &server{
		events:      make(chan func(), roundEvents),
		output:      chatlog.NewSink("standard output", os.Stdout, complaints),
		errors:      complaints,
		log:         chatlog.NoLog(),
		stream:      room,
		news:        stream.Cursor{Stream: room},
		users:       make(map[string]*user),
		connections: make(map[*user]struct{}),
		buffer:      make([]byte, maxInbox),
		began:       time.Now(),
		sweepAt:     never,
	}
	s.news.Attach()
	s.alarm = time.AfterFunc(never, func() { s.events <- s.sweep })
	return s
}

func main() {
	s := newServer()
	s.options = options.ParseOptions(os.Args[1:], s.fail)
	s.catchSignals()
	boundGarbage()
	s.start()
	s.run()
	s.log.LogEvent("stop", "addr", s.address)
	end := time.Now().Add(lastWordsTime)
	s.output.Finish(end)
	s.log.Finish(end)
	s.errors.Finish(end.Add(lastWordsTime / 2))
}
