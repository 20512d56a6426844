// Package terminal edits lines on a terminal (EDIT), and reads passwords without echo (HIDE).
//
// It is in one of three modes:
//
//	plain    the terminal edits lines itself, or there is no terminal
//	hidden   the same without echo, while a password is typed
//	edited   readline edits the line, which is drawn below everything else, after its prompt
//
// Everything to show is appended to Out, which the client writes to standard output. Only Read and
// Restore may be called by several goroutines.
//
// readline (github.com/ergochat/readline) does the keys, the history, the search and the drawing.
// Its goroutine runs in step with us: we pass it a key, and wait until it asks for the next one. So
// its drawing does not mix with lines from the server.
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
	readSize     = 64 * 1024       // bytes read in one system call
	maxTyped     = 4095            // bytes of an edited line, as in the kernel's own editing
	maxBegun     = 4096            // bytes of a server's incomplete line
	maxKey       = 4096            // bytes of an escape sequence
	maxNames     = 1000            // names that TAB completes
	escapeTime   = time.Second / 2 // to wait for more after Escape alone
	sequenceTime = 2 * time.Second // to wait for more after a longer part of an escape sequence
	stopTime     = time.Second     // for SIGTSTP to stop the program
)

// The commands that TAB completes (CMD-1, ACCT).
var commands = []string{
	"/help", "/who", "/msg", "/nick", "/register", "/passwd", "/unregister", "/quit",
}

// Terminal is the terminal, and what is on its screen.
type Terminal struct {
	Out    []byte            // text for standard output
	Flush  func()            // writes Out
	Own    string            // the client's own prompt (EDIT-2)
	Begun  string            // the server's incomplete line
	Names  map[string]string // in the room, by lower-cased name
	Ours   bool              // we are in the foreground, or there is no terminal
	Hidden bool              // a password is being typed
	edits  bool              // lines can be edited, until the end of the input

	mutex   sync.Mutex    // protects before and marks, which Restore uses
	before  *unix.Termios // the original mode, to restore; nil while the terminal has it
	marks   bool          // bracketed paste is on
	stopped time.Time     // when Ctrl+Z was pressed, until SIGCONT
	early   bool          // Take has noticed a stop before SIGCONT was handled

	line    string // the half-typed line
	at      int    // offset of the cursor in it
	drawn   bool   // it is on the screen
	edge    bool   // it fills its last row, so that the cursor is in the next one
	keys    string // an incomplete key
	since   time.Time
	pasting bool

	editor    *readline.Instance
	config    *readline.Config
	columns   int           // of the window
	onResized func()        // makes the library read columns
	between   func()        // what change calls while the line is erased
	asksPlace bool          // the library has asked for the position of the cursor
	pressed   chan string   // keys for the library
	idle      chan struct{} // the library asks for the next key
	entered   string        // the last entered line
}

// Open opens the terminal. In the background, the program does not stop (EDIT-5).
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

// allowStops is a thread in which SIGTSTP is not blocked, even if it was blocked at the start
// (PROG-10): the runtime unblocks only signals that the program catches.
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

// MayShow tells whether to write to standard output: in the background, an editor waits (EDIT-5).
func (t *Terminal) MayShow() bool { return t.Ours || !t.edits }

// IsEditing tells whether the mode is edited.
func (t *Terminal) IsEditing() bool { return t.edits && !t.Hidden }

// ------------------------------------------ Modes -------------------------------------------

// Take finds out whether we are in the foreground, and sets our mode when we have come there.
func (t *Terminal) Take() {
	if t.Ours && t.Hidden && t.echoes() { // a stop has ended, and other events came before SIGCONT
		t.Ours, t.early = false, true
	}
	before := t.Ours
	t.Ours = isOurs() && time.Since(t.stopped) > stopTime
	if !t.Ours {
		t.drawn = false
	} else if !before {
		t.setMode()
		t.Resize()
	}
}

// isOurs tells whether we are in the foreground.
func isOurs() bool {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// echoes tells whether the terminal shows what is typed, although our mode is set.
func (t *Terminal) echoes() bool {
	mode, err := unix.IoctlGetTermios(0, unix.TCGETS)
	return err == nil && t.before != nil && mode.Lflag&unix.ECHO != 0
}

// GoOn handles SIGCONT: it sets up the terminal again, which other programs may have used.
func (t *Terminal) GoOn() {
	if !t.stopped.IsZero() { // other events came before SIGCONT, and the line may be drawn again
		t.TakeOff()
	}
	if !t.early {
		t.Ours, t.drawn, t.stopped = false, false, time.Time{}
	}
	t.early = false
}

// setMode sets the terminal's mode as we need it now, and clears its row. Input typed ahead stays.
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
		if err != nil { // no terminal
			return
		}
		t.before = before
	}
	wanted := *t.before
	wanted.Lflag &^= unix.ECHO | unix.ECHONL
	if t.Hidden && t.before.Lflag&unix.ECHO != 0 { // without ECHO, another program echoes
		wanted.Lflag |= unix.ECHONL
	}
	if t.IsEditing() { // Ctrl+C stays a signal; Ctrl+Z becomes a key, to restore the mode first
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

// markPastes turns bracketed paste on or off, unless Ctrl+S has stopped the terminal.
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

// Restore restores the original mode, for good (HIDE-4, EDIT-8). It discards input, which may be a
// half-typed password (HIDE-2). Any goroutine may call it.
func (t *Terminal) Restore() {
	t.mutex.Lock() // never unlocked
	if t.before != nil && isOurs() {
		discardTyped()
	}
	t.giveBack()
}

// giveBack restores the original mode.
func (t *Terminal) giveBack() {
	if t.before != nil && isOurs() {
		t.markPastes(false)
		unix.IoctlSetTermios(0, unix.TCSETS, t.before)
		t.before = nil
	}
}

// discardTyped discards input that was not read yet.
func discardTyped() {
	unix.IoctlSetInt(0, unix.TCFLSH, unix.TCIFLUSH)
	isReady(0, unix.POLLIN, 0) // makes the kernel deliver input that is still in its buffers
	unix.IoctlSetInt(0, unix.TCFLSH, unix.TCIFLUSH)
}

// isReady tells whether a descriptor is readable or writable within milliseconds (-1: no limit).
func isReady(fd int32, events int16, patience int) bool {
	n, _ := unix.Poll([]unix.PollFd{{Fd: fd, Events: events}}, patience)
	return n > 0
}

// Read waits for input, and returns it, and whether it has ended. Any goroutine may call it.
func (t *Terminal) Read() (data []byte, ended bool) {
	if !isReady(0, unix.POLLIN, -1) {
		return nil, false
	}
	buffer := make([]byte, readSize)
	n, err := unix.Read(0, buffer)
	goesOn := err == unix.EAGAIN || err == unix.EINTR || err == unix.EIO && !isOurs()
	return buffer[:max(n, 0)], n <= 0 && !goesOn
}

// HideTyping hides the typing of a password (HIDE-1). A half-typed line before it is dropped.
func (t *Terminal) HideTyping() {
	if t.Hidden {
		return
	}
	if t.edits {
		t.TakeOff()
		t.feed("\x05\x15") // Ctrl+E, Ctrl+U: erase the line
		t.keys, t.pasting = "", false
	}
	t.Hidden = true
	t.setMode()
}

// ShowTyping shows typing again. Half-typed input stays; see DropTyped.
func (t *Terminal) ShowTyping() {
	if t.Hidden {
		t.Hidden = false
		t.setMode()
	}
}

// DropTyped discards a half-typed password (HIDE-2).
func (t *Terminal) DropTyped() {
	if t.Hidden && isOurs() {
		discardTyped()
	}
}

// EndEditing ends line editing: it leaves the half-typed line on the screen, and restores the mode.
func (t *Terminal) EndEditing() {
	if t.Ours && t.Hidden {
		t.EndRow()
	}
	t.leave(false)
	t.DropTyped()
	t.edits, t.Hidden, t.Begun = false, false, ""
	t.setMode()
}

// stop stops the program and its process group (Ctrl+Z), with the original mode, until SIGCONT. The
// signal may arrive a little later, or not at all in an orphaned process group.
func (t *Terminal) stop() {
	t.leave(false)
	t.Flush()
	t.mutex.Lock()
	t.giveBack()
	t.mutex.Unlock()
	t.Ours, t.stopped = false, time.Now()
	unix.Kill(0, unix.SIGTSTP)
}

// ------------------------------------------ Screen ------------------------------------------

// PrintAbove shows sanitized text: complete lines above the typed one, an incomplete one before it.
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
	if len(t.Begun) > maxBegun { // longer than any line of a chat server: end it here
		t.EndRow()
		t.Begun = ""
	}
}

// EndRow ends the server's incomplete line on the screen.
func (t *Terminal) EndRow() {
	if t.edits && t.Begun != "" {
		t.PrintAbove("\n")
	}
}

// ForgetRow erases the server's incomplete line, if it is a prompt.
func (t *Terminal) ForgetRow() {
	t.TakeOff()
	t.Begun = ""
}

// Draw draws the half-typed line after its prompt, if it is not on the screen.
func (t *Terminal) Draw() {
	prompt := strings.ReplaceAll(cmp.Or(t.Begun, t.Own), "\t", " ") // the library counts four columns
	if t.IsEditing() && t.Ours && !(t.drawn && prompt == t.config.Prompt) {
		t.change(func() { t.drawn, t.config.Prompt = true, prompt })
	}
}

// TakeOff erases the half-typed line, to show something above it.
func (t *Terminal) TakeOff() {
	if t.drawn {
		t.change(func() { t.drawn = false })
	}
}

// leave leaves the half-typed line on the screen, with the cursor below it. The client's own prompt
// alone is erased, unless Enter was pressed (EDIT-3).
func (t *Terminal) leave(entered bool) {
	switch {
	case !t.IsEditing() || !t.Ours:
	case !entered && t.line == "" && t.Begun == "":
		t.TakeOff()
	default:
		t.Draw()
		t.feed("\x05")      // to the end of the line
		t.change(func() {}) // draws it again, to set edge: the last drawing may be a bell
		if !t.edge || t.config.Prompt+t.line == "" {
			t.Out = append(t.Out, '\n')
		}
		t.drawn = false
	}
}

// Resize handles a new size of the window. Some terminals wrap long rows again, others do not. The
// line is erased as if it had the smaller number of rows, so that the chat above it stays.
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

// windowColumns returns the width of the window.
func windowColumns() int {
	size, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 80
	}
	return int(size.Col)
}

// ------------------------------------------- Keys -------------------------------------------

var (
	wholeKey = regexp.MustCompile(`(?s)^\x1b(?:\[M...|\[\[.|\[[0-?]+[ -/]*[@-~]|\[[ -/]*[@-LN-Z\\-~]|` +
		`O.|[\]P_^X].*?(?:\a|\x1b\\)|[^\[O\]P_^X\x1b])|^[^\x1b]`)
	begunKey = regexp.MustCompile(`(?s)^\x1b(?:\[M.{0,2}|\[\[?|\[[0-?]*[ -/]*|O|[\]P_^X].*)?$`)
	strayKey = regexp.MustCompile(`^\x1b(?:\[[0-?]*[ -/]*)?`) // a beginning that no key continues
	// The keys for the library. Not Ctrl+W, which treats only ASCII letters as a word there.
	libraryKey = regexp.MustCompile(`^(?:\x1b(?:[bf]|[\[O][0-9;]*[A-FHZ~])|` +
		`[\x01\x02\x04-\x08\x0b\x0c\x0e\x10\x12-\x15\x19\x7f])$`)
	lastWord = regexp.MustCompile(`[^\s\p{Z}]*[\s\p{Z}]*$`) // with the spaces after it
)

const (
	pasteBegins = "\x1b[200~"
	pasteEnds   = "\x1b[201~"
)

// ReadLine handles input from the terminal, and returns whether the user has ended it (Ctrl+D). It
// calls typed for each line, which returns whether the history may keep it.
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

// nextKey removes and returns the next key; empty where it is incomplete.
func (t *Terminal) nextKey() string {
	key := wholeKey.FindString(t.keys)
	if !utf8.FullRuneInString(t.keys) || key == "" && begunKey.MatchString(t.keys) {
		return ""
	}
	key = cmp.Or(key, strayKey.FindString(t.keys))
	t.keys = t.keys[len(key):]
	return key
}

// press handles a key. A key that the library does not know does nothing (EDIT-7).
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

// erase erases a text before the cursor.
func (t *Terminal) erase(text string) {
	t.feed(strings.Repeat("\x7f", utf8.RuneCountInString(text)))
}

// enter handles an entered line, which stays on the screen.
func (t *Terminal) enter(typed func(line string) bool) {
	t.leave(true)
	t.Begun = ""
	t.feed("\r")
	if !typed(t.entered) {
		t.entered = "" // the history ignores an empty line
	}
	t.editor.SaveToHistory(t.entered)
}

// complete completes the word before the cursor, if exactly one command or name matches (EDIT-6).
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

// Know remembers a name in the room; with too many, it forgets any other.
func (t *Terminal) Know(name string) {
	if len(t.Names) == maxNames {
		for other := range t.Names {
			t.Forget(other)
			break
		}
	}
	t.Names[strings.ToLower(name)] = name
}

// Forget forgets a name that has left the room.
func (t *Terminal) Forget(name string) { delete(t.Names, strings.ToLower(name)) }

// --------------------------------------- The library ----------------------------------------

// startLibrary starts the goroutine of the library.
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
	t.editor, _ = readline.NewFromConfig(t.config) // fails only on Windows
	go func() {
		for {
			t.entered, _ = t.editor.ReadLine()
		}
	}()
	<-t.idle
}

// feed passes keys to the library, and waits until it has handled them.
func (t *Terminal) feed(keys string) {
	if keys != "" {
		t.pressed <- keys
		<-t.idle
	}
}

// change has the library erase its line, calls f, and has the library draw the line again.
func (t *Terminal) change(f func()) {
	t.between = f
	t.editor.Write(nil)
}

// A fake is the terminal of the library.
type fake struct{ *Terminal }

// Read returns the next keys. Before each line, the library asks for the position of the cursor,
// which is always at the beginning of a row.
func (t fake) Read(buffer []byte) (int, error) {
	if t.asksPlace {
		t.asksPlace = false
		return copy(buffer, "\x1b[1;1R"), nil
	}
	t.idle <- struct{}{}
	return copy(buffer, <-t.pressed), nil
}

// Write appends a drawing to Out, or discards it while the line is not on the screen. change writes
// nothing, to be called back.
func (t fake) Write(data []byte) (int, error) {
	switch {
	case len(data) == 0:
		t.between()
	case string(data) == "\x1b[6n":
		t.asksPlace = true
	case t.drawn:
		// After a prompt that fills its row, this would erase the last column.
		t.Out = append(t.Out, bytes.ReplaceAll(data, []byte("\x1b[0K"), nil)...)
		t.edge = bytes.HasSuffix(data, []byte(" \b"))
	}
	return len(data), nil
}
