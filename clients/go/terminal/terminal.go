// Package terminal is the terminal that standard input is, if it is one: typing while others talk
// (EDIT), and passwords that are not shown (HIDE). Without one, it is a plain output.
//
// It is in one of three modes:
//
//	plain    the terminal's own way to take lines; also where there is no terminal
//	hidden   the same without echo, while a password is typed
//	edited   readline has the half-typed line; it stands below all else, behind its prompt
//
// What it shows, it adds to Out: the client writes that on standard output. All is for one
// goroutine, except Read and Restore.
//
// readline (github.com/ergochat/readline) edits the line: keys, history, search and drawing are its
// own. It is made to work in step with us: it gets one key, and has done all that the key asks for
// when it asks for the next one. So what it draws is not mixed up with lines that come.
package terminal

import (
	"bytes"
	"cmp"
	"maps"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ergochat/readline"
	"golang.org/x/sys/unix"
)

const (
	readSize     = 64 * 1024       // bytes read in one go
	maxTyped     = 4095            // bytes of an edited line: what a terminal itself takes
	maxBegun     = 4096            // bytes of a server's line that has no end yet
	maxKey       = 4096            // bytes of what a key sends, or of what the terminal answers
	maxNames     = 1000            // that TAB completes
	escapeTime   = time.Second / 2 // after Escape, for what would make it the beginning of a key
	stopTime     = time.Second     // for a stop to come
	sequenceTime = 2 * time.Second // for the rest of a longer one
)

// Those that TAB completes (CMD-1, ACCT).
var commands = []string{
	"/help", "/who", "/msg", "/nick", "/register", "/passwd", "/unregister", "/quit",
}

// Terminal is the terminal, and what is on it.
type Terminal struct {
	Out    []byte            // what is to be written on standard output
	Flush  func()            // writes it
	Own    string            // the prompt where the server's last line has ended (EDIT-2)
	Begun  string            // what the server's last line has so far
	Names  map[string]string // in the room, by their small letters
	Ours   bool              // the shell has not given it to another job; always so without one
	Hidden bool              // a password is typed
	edits  bool              // lines can be edited; the end of the input ends that

	mutex   sync.Mutex    // for what Restore touches
	before  *unix.Termios // the mode that it had, and is to have at the end, if it has another one
	marks   bool          // it marks what is pasted
	stopped time.Time     // when Ctrl+Z was pressed, until the program goes on

	line    string // the half-typed line
	at      int    // where the cursor is in it
	drawn   bool   // it is on the screen
	edge    bool   // ... and the cursor has gone on to the next row, as the line fills its last one
	keys    string // the beginning of what a key sends
	since   time.Time
	pasting bool

	editor    *readline.Instance
	config    *readline.Config
	columns   int
	onResized func()        // has the library ask for these
	between   func()        // what change does while the line is off the screen
	asksPlace bool          // the library has asked the terminal where the cursor is
	pressed   chan string   // keys for the library
	idle      chan struct{} // it wants the next one
	entered   string        // the last line that Enter has ended
}

// Open looks at what standard input and standard output are. In the background, the terminal's
// signals do not stop us.
func Open() *Terminal {
	t := &Terminal{Names: make(map[string]string)}
	signal.Ignore(unix.SIGTTIN, unix.SIGTTOU)
	kind := os.Getenv("TERM")
	if isTerminal(0) && isTerminal(1) && kind != "" && kind != "dumb" {
		go allowStops()
		t.edits = true
		t.startLibrary()
	}
	return t
}

// allowStops is one thread that takes the signal of Ctrl+Z, though it was blocked at the start
// (PROG-10): the runtime takes care only of signals that it catches.
func allowStops() {
	runtime.LockOSThread()
	stops := unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGTSTP - 1)}}
	unix.PthreadSigmask(unix.SIG_UNBLOCK, &stops, nil)
	select {}
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// MayShow reports whether standard output may be written to: in the background, where lines are
// edited, it waits quietly.
func (t *Terminal) MayShow() bool { return t.Ours || !t.edits }

// IsEditing reports whether what is typed now is an edited line.
func (t *Terminal) IsEditing() bool { return t.edits && !t.Hidden }

// ---------------------------------------------------------------------------------------------
// Modes
// ---------------------------------------------------------------------------------------------

// Take finds out whether the terminal is ours, and gives it our mode where it has become ours. Each
// round of the loop asks.
func (t *Terminal) Take() {
	before := t.Ours
	t.Ours = isOurs() && time.Since(t.stopped) > stopTime
	if !t.Ours {
		t.drawn = false
	} else if !before {
		t.setMode()
		t.Resize()
	}
}

// isOurs reports whether we are in the foreground.
func isOurs() bool {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// GoOn is called when the program was stopped and goes on: others may have used the terminal.
func (t *Terminal) GoOn() {
	t.Ours, t.drawn, t.stopped = false, false, time.Time{}
}

// setMode makes the terminal, if it is ours, do what we need, and begins its row anew. What was
// typed ahead stays.
func (t *Terminal) setMode() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if !t.edits && !t.Hidden {
		t.giveBack()
		return
	}
	if !t.Ours {
		return
	}
	if t.before == nil {
		before, err := unix.IoctlGetTermios(0, unix.TCGETS)
		if err != nil { // there is no terminal
			return
		}
		t.before = before
	}
	wanted := *t.before
	wanted.Lflag &^= unix.ECHO | unix.ECHONL
	if t.Hidden && t.before.Lflag&unix.ECHO != 0 { // without it, another shows what is typed
		wanted.Lflag |= unix.ECHONL
	}
	if t.IsEditing() { // Ctrl+C stays a signal; Ctrl+Z is a key, so that it can put things in order
		wanted.Iflag = wanted.Iflag&^unix.IXON | unix.ICRNL
		wanted.Oflag |= unix.OPOST | unix.ONLCR
		wanted.Lflag &^= unix.ICANON | unix.IEXTEN
		wanted.Cc[unix.VMIN], wanted.Cc[unix.VTIME], wanted.Cc[unix.VSUSP] = 1, 0, 0
	}
	unix.IoctlSetTermios(0, unix.TCSETS, &wanted)
	t.markPastes(t.IsEditing())
	if t.edits {
		t.Out = append(t.Out, "\r\x1b[J"...)
	}
	if t.edits && t.Hidden {
		t.Out = append(t.Out, t.Begun...)
	}
}

// markPastes asks the terminal to mark what is pasted, or not to, unless Ctrl+S holds it up.
func (t *Terminal) markPastes(wanted bool) {
	request := "\x1b[?2004l"
	if wanted {
		request = "\x1b[?2004h"
	}
	if wanted != t.marks && isReady(1, unix.POLLOUT, 0) {
		unix.Write(1, []byte(request))
		t.marks = wanted
	}
}

// Restore gives the terminal back as it was, for good (HIDE-4, EDIT-8). Any goroutine may call it.
// What is typed may be the rest of a password, and is not for the program that reads next (HIDE-2).
func (t *Terminal) Restore() {
	t.mutex.Lock() // for good
	if t.before != nil && isOurs() {
		discardTyped()
	}
	t.giveBack()
}

// giveBack does that.
func (t *Terminal) giveBack() {
	if t.before != nil && isOurs() {
		t.markPastes(false)
		unix.IoctlSetTermios(0, unix.TCSETS, t.before)
		t.before = nil
	}
}

// discardTyped discards what was typed and is not read, and what is on its way there.
func discardTyped() {
	unix.IoctlSetInt(0, unix.TCFLSH, unix.TCIFLUSH)
	isReady(0, unix.POLLIN, 0) // the kernel hands over what it has taken
	unix.IoctlSetInt(0, unix.TCFLSH, unix.TCIFLUSH)
}

// isReady reports whether a descriptor can be read or written within some milliseconds; -1: it
// waits for that, or for a signal.
func isReady(fd int32, events int16, patience int) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: fd, Events: events}}, patience)
	return n > 0
}

// Read waits for input and returns it, nothing where there is none for us, and whether the input
// has ended. Any goroutine may call it.
func (t *Terminal) Read() (data []byte, ended bool) {
	if !isReady(0, unix.POLLIN, -1) {
		return nil, false
	}
	buffer := make([]byte, readSize)
	n, err := unix.Read(0, buffer)
	goesOn := err == unix.EAGAIN || err == unix.EINTR || err == unix.EIO && !isOurs()
	return buffer[:max(n, 0)], n <= 0 && !goesOn
}

// HideTyping keeps a password from being shown (HIDE-1). What is half typed is no part of it.
func (t *Terminal) HideTyping() {
	if t.Hidden {
		return
	}
	if t.edits {
		t.TakeOff()
		t.feed("\x05\x15") // to the end of the line; erase all before it
		t.keys, t.pasting = "", false
	}
	t.Hidden = true
	t.setMode()
}

// ShowTyping goes back to what was before. What is half typed stays; see DropTyped.
func (t *Terminal) ShowTyping() {
	if t.Hidden {
		t.Hidden = false
		t.setMode()
	}
}

// DropTyped drops what is half typed of a password (HIDE-2).
func (t *Terminal) DropTyped() {
	if t.Hidden && isOurs() {
		discardTyped()
	}
}

// EndEditing leaves the half-typed line on the screen, and the terminal as it was.
func (t *Terminal) EndEditing() {
	if t.Ours && t.Hidden {
		t.EndRow()
	}
	t.leave(false)
	t.DropTyped()
	t.edits, t.Hidden, t.Begun = false, false, ""
	t.setMode()
}

// stop lets Ctrl+Z stop the program, with the terminal as it was, and those that were started with
// it. The stop itself may come a little later, or not at all, where no shell could undo it.
func (t *Terminal) stop() {
	t.leave(false)
	t.Flush()
	t.mutex.Lock()
	t.giveBack()
	t.mutex.Unlock()
	t.Ours, t.stopped = false, time.Now()
	unix.Kill(0, unix.SIGTSTP)
}

// ---------------------------------------------------------------------------------------------
// Screen
// ---------------------------------------------------------------------------------------------

// PrintAbove puts harmless text on the screen: whole lines above the half-typed one, and what has
// no end yet before it.
func (t *Terminal) PrintAbove(text string) {
	whole := strings.LastIndexByte(text, '\n') + 1
	if !t.IsEditing() {
		t.Out = append(t.Out, text...)
	} else if whole > 0 {
		t.TakeOff()
		t.Out = append(t.Out, t.Begun+text[:whole]...)
	}
	if whole > 0 {
		t.Begun = ""
	}
	t.Begun += text[whole:]
	if len(t.Begun) > maxBegun { // longer than any server's: it might never end
		t.EndRow()
		t.Begun = ""
	}
}

// EndRow ends, on the screen, a line that the server cannot end any more.
func (t *Terminal) EndRow() {
	if t.edits && t.Begun != "" {
		t.PrintAbove("\n")
	}
}

// ForgetRow takes such a line off the screen, if a line is typed behind it.
func (t *Terminal) ForgetRow() {
	t.TakeOff()
	t.Begun = ""
}

// Draw puts the half-typed line on the screen, behind its prompt, if it is not there.
func (t *Terminal) Draw() {
	prompt := strings.ReplaceAll(cmp.Or(t.Begun, t.Own), "\t", " ") // the library counts four columns
	if t.IsEditing() && t.Ours && !(t.drawn && prompt == t.config.Prompt) {
		t.change(func() { t.drawn, t.config.Prompt = true, prompt })
	}
}

// TakeOff takes it off the screen: it gives way to something above it.
func (t *Terminal) TakeOff() {
	if t.drawn {
		t.change(func() { t.drawn = false })
	}
}

// leave leaves it on the screen for good, with the cursor below it; but an own prompt with nothing
// behind it goes, unless Enter was pressed (EDIT-3).
func (t *Terminal) leave(entered bool) {
	switch {
	case !t.IsEditing() || !t.Ours:
	case !entered && t.line == "" && t.Begun == "":
		t.TakeOff()
	default:
		t.Draw()
		t.feed("\x05")      // to the end of the line
		t.change(func() {}) // draws it once more: the last that was drawn may be a bell
		if !t.edge || t.config.Prompt+t.line == "" {
			t.Out = append(t.Out, '\n')
		}
		t.drawn = false
	}
}

// Resize learns of the window's new size. Some terminals break rows anew then, and others do not:
// the line is taken off as if it had the fewer rows of the two, because above them is the chat.
func (t *Terminal) Resize() {
	if !t.edits {
		return
	}
	now := windowColumns()
	t.columns = max(t.columns, now)
	t.onResized()
	t.change(func() {
		t.columns = now
		t.onResized()
	})
}

// windowColumns asks for the size of the window.
func windowColumns() int {
	size, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 80
	}
	return int(size.Col)
}

// ---------------------------------------------------------------------------------------------
// Keys
// ---------------------------------------------------------------------------------------------

var (
	wholeKey = regexp.MustCompile(`(?s)^\x1b(?:\[M...|\[\[.|\[[0-?]+[ -/]*[@-~]|\[[ -/]*[@-LN-Z\\-~]|` +
		`O.|[\]P_^X].*?(?:\a|\x1b\\)|[^\[O\]P_^X\x1b])|^[^\x1b]`)
	begunKey = regexp.MustCompile(`(?s)^\x1b(?:\[M.{0,2}|\[\[?|\[[0-?]*[ -/]*|O|[\]P_^X].*)?$`)
	strayKey = regexp.MustCompile(`^\x1b(?:\[[0-?]*[ -/]*)?`) // what no key sends
	// What the library knows. Its Ctrl+W takes only ASCII letters for a word.
	libraryKey = regexp.MustCompile(`^(?:\x1b(?:[bf]|[\[O][0-9;]*[A-FHZ~])|` +
		`[\x01\x02\x04-\x08\x0b\x0c\x0e\x10\x12-\x15\x19\x7f])$`)
	lastWord = regexp.MustCompile(`[^\s\p{Z}]*[\s\p{Z}]*$`) // with the blanks behind it
)

const (
	pasteBegins = "\x1b[200~"
	pasteEnds   = "\x1b[201~"
)

// ReadLine takes what the terminal sends. It calls typed for each line that Enter ends, which
// reports whether the history may have it; ended says that the user has ended the input.
func (t *Terminal) ReadLine(data string, typed func(line string) bool) (ended bool) {
	patience := sequenceTime
	if t.keys == "\x1b" {
		patience = escapeTime
	}
	if strings.HasPrefix(t.keys, "\x1b") && (time.Since(t.since) > patience || len(t.keys) > maxKey) {
		t.keys = ""
	}
	t.keys += data
	t.since = time.Now()
	for key := t.nextKey(); key != ""; key = t.nextKey() {
		switch {
		case key == "\n" || key == "\r":
			t.enter(typed)
		case key == "\x04" && t.line == "" && !t.pasting: // Ctrl+D
			return true
		default:
			t.press(key)
		}
	}
	return false
}

// nextKey takes what the first key has sent, a character or an escape sequence; nothing where that
// is not whole yet.
func (t *Terminal) nextKey() string {
	key := wholeKey.FindString(t.keys)
	if !utf8.FullRuneInString(t.keys) || key == "" && begunKey.MatchString(t.keys) {
		return ""
	}
	key = cmp.Or(key, strayKey.FindString(t.keys))
	t.keys = t.keys[len(key):]
	return key
}

// press does what a key asks for. What is neither text nor a key that the library knows, such as an
// answer of the terminal, does nothing.
func (t *Terminal) press(key string) {
	r, _ := utf8.DecodeRuneInString(key)
	isText := utf8.ValidString(key) && !unicode.IsControl(r) || key == "\t" && t.pasting
	switch {
	case key == pasteBegins || key == pasteEnds:
		t.pasting = key == pasteBegins
	case isText:
		if len(t.line) < maxTyped {
			t.feed(key)
		}
	case t.pasting:
	case key == "\t":
		t.complete()
	case key == "\x17": // Ctrl+W
		t.erase(lastWord.FindString(t.line[:t.at]))
	case key == "\x1a": // Ctrl+Z
		t.stop()
	case libraryKey.MatchString(key):
		t.feed(key)
	}
}

// erase erases a text that stands before the cursor.
func (t *Terminal) erase(text string) {
	t.feed(strings.Repeat("\x7f", utf8.RuneCountInString(text)))
}

// enter passes on the line, which stays on the screen.
func (t *Terminal) enter(typed func(line string) bool) {
	t.leave(true)
	t.Begun = ""
	t.feed("\r")
	if !typed(t.entered) {
		t.entered = "" // the library then forgets the line
	}
	t.editor.SaveToHistory(t.entered)
}

// complete completes the word before the cursor, where one command or name begins so (EDIT-6).
func (t *Terminal) complete() {
	before, behind := t.line[:t.at], t.line[t.at:]
	word := before[strings.LastIndexByte(before, ' ')+1:]
	if word == "" || behind != "" && behind[0] != ' ' {
		return
	}
	words := maps.Values(t.Names)
	if word == before && word[0] == '/' {
		words = slices.Values(commands)
	}
	var found []string
	for name := range words {
		if strings.HasPrefix(strings.ToLower(name), strings.ToLower(word)) {
			found = append(found, name)
		}
	}
	if len(found) == 1 {
		t.erase(word)
		t.feed(found[0])
	}
}

// Know remembers who is in the room. Where there are too many, any other goes.
func (t *Terminal) Know(name string) {
	if len(t.Names) == maxNames {
		for other := range t.Names {
			t.Forget(other)
			break
		}
	}
	t.Names[strings.ToLower(name)] = name
}

// Forget forgets one who is gone.
func (t *Terminal) Forget(name string) { delete(t.Names, strings.ToLower(name)) }

// ---------------------------------------------------------------------------------------------
// The library
// ---------------------------------------------------------------------------------------------

// startLibrary begins the one call to the library for each line.
func (t *Terminal) startLibrary() {
	t.pressed, t.idle, t.columns = make(chan string), make(chan struct{}), windowColumns()
	nothing := func() error { return nil }
	t.config = &readline.Config{
		DisableAutoSaveHistory: true,
		Listener: func(line []rune, at int, _ rune) ([]rune, int, bool) {
			t.line, t.at = string(line), len(string(line[:at]))
			return nil, 0, false
		},
		Stdin:              fake{t},
		Stdout:             fake{t},
		FuncIsTerminal:     func() bool { return true },
		FuncMakeRaw:        nothing,
		FuncExitRaw:        nothing,
		FuncGetSize:        func() (int, int) { return t.columns, 0 },
		FuncOnWidthChanged: func(ask func()) { t.onResized = ask },
	}
	t.editor, _ = readline.NewFromConfig(t.config) // it fails on Windows alone
	go func() {
		for {
			t.entered, _ = t.editor.ReadLine()
		}
	}()
	<-t.idle
}

// feed lets the library take keys.
func (t *Terminal) feed(keys string) {
	if keys != "" {
		t.pressed <- keys
		<-t.idle
	}
}

// change has the library take its line off the screen, calls f, and has it drawn anew.
func (t *Terminal) change(f func()) {
	t.between = f
	t.editor.Write(nil)
}

// A fake is what the library takes for the terminal.
type fake struct{ *Terminal }

// Read gives the library its next keys. Before each line it asks where the cursor is: always at the
// beginning of a row.
func (t fake) Read(buffer []byte) (int, error) {
	if t.asksPlace {
		t.asksPlace = false
		return copy(buffer, "\x1b[1;1R"), nil
	}
	t.idle <- struct{}{}
	return copy(buffer, <-t.pressed), nil
}

// Write takes what the library draws; while its line is off the screen, that is lost. Nothing at
// all is what change writes.
func (t fake) Write(data []byte) (int, error) {
	switch {
	case len(data) == 0:
		t.between()
	case string(data) == "\x1b[6n":
		t.asksPlace = true
	case t.drawn:
		// Behind a prompt that fills its row this would erase the last column.
		t.Out = append(t.Out, bytes.ReplaceAll(data, []byte("\x1b[0K"), nil)...)
		t.edge = bytes.HasSuffix(data, []byte(" \b"))
	}
	return len(data), nil
}
