// Package accounts has the file, the passwords, and the worker threads that do the slow work.
//
// As many workers as there are processors check passwords. They have a low priority. One more
// worker, the file worker, is the only one that accesses the file after the start, so checks and
// changes do not wait for each other (ACCT-13). A worker knows only its job, where it stores the
// result.
//
// It exports Open and Accounts (HashOf, Check, Change, Reload, Finished), which only the owner's
// goroutine calls. The workers call `report`.
package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/crypto/bcrypt"
)

// MaxPassword is the number of bytes of a password that bcrypt uses.
const MaxPassword = 72

const (
	hashCost   = 10  // of new hashes: each increment doubles the time of a check
	maxChanges = 100 // changes that wait for the file worker
	niceness   = 10  // of the workers that check passwords: they get a ninth of others' time
)

// A Task is what a job does. The log shows these names.
type Task string

// The tasks.
const (
	Check      Task = "check"      // check a password
	Register   Task = "register"   // make an account
	Passwd     Task = "passwd"     // change its password
	Unregister Task = "unregister" // remove it
	reload     Task = "reload"     // read the file again
)

// A Job is the input of a worker, and its result.
type Job struct {
	Owner    any // the user that waits for it; nil for reload
	Task     Task
	Name     string
	password string
	Hash     string             // of the account when the job was made; "" where it did not exist
	Forget   context.CancelFunc // cancels the job, if no worker has begun it
	wanted   context.Context    // until Forget is called

	Done    bool              // the password is right, or the account was changed
	NewHash string            // of the account after a change; "" after Unregister
	Err     error             // for the log
	hashes  map[string]string // all accounts after the job
}

// Accounts are the accounts in force, and the interface to the workers that check and change them.
type Accounts struct {
	hashes  map[string]string // by lower-cased name
	checks  chan *Job         // for the workers
	changes chan *Job         // for the file worker
	lock    *os.File          // an open file keeps the lock
}

// Open reads and locks the file, and starts the workers (FILE-3, FILE-8). They report each finished
// job.
//
// It reads the file before it locks it, so that a bad file gets no lock file, and again afterwards,
// because another server may have changed it before the lock.
func Open(path string, nameIsValid func(string) bool, report func(*Job)) (*Accounts, error) {
	f := &file{path: path, nameIsValid: nameIsValid}
	if err := f.read(); err != nil {
		return nil, err
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot use accounts %s: %w", path, err)
	}
	if err := f.read(); err != nil {
		return nil, err
	}
	a := &Accounts{f.hashes, make(chan *Job), make(chan *Job, maxChanges), lock}
	processors := runtime.NumCPU()
	// Let Go run this many threads in addition, so that the workers never keep others from running.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + processors + 1)
	for range processors {
		go work(a.checks, check, report, niceness)
	}
	go work(a.changes, f.keep, report, 0)
	return a, nil
}

// HashOf returns the hash of an account, or "" where the name is not registered.
func (a *Accounts) HashOf(name string) string {
	if a == nil {
		return ""
	}
	return a.hashes[strings.ToLower(name)]
}

// Check has a worker check a password.
func (a *Accounts) Check(owner any, name, password string) *Job {
	job := a.newJob(owner, Check, name, password)
	go func() {
		select {
		case a.checks <- job:
		case <-job.wanted.Done():
		}
	}()
	return job
}

// Change has the file worker change an account; nil where too many changes are queued (ACCT-13).
func (a *Accounts) Change(owner any, task Task, name, password string) *Job {
	job := a.newJob(owner, task, name, password)
	select {
	case a.changes <- job:
		return job
	default:
		return nil
	}
}

// Reload has the file worker read the file again (FILE-4).
func (a *Accounts) Reload() {
	job := a.newJob(nil, reload, "", "")
	go func() { a.changes <- job }()
}

func (a *Accounts) newJob(owner any, task Task, name, password string) *Job {
	job := &Job{Owner: owner, Task: task, Name: name, password: password, Hash: a.HashOf(name)}
	job.wanted, job.Forget = context.WithCancel(context.Background())
	return job
}

// Finished puts the accounts of a finished job in force.
func (a *Accounts) Finished(job *Job) {
	if job.hashes != nil {
		a.hashes = job.hashes
	}
}

// ----------------------------------------- The file -----------------------------------------

// A file is the accounts file, and its contents when last read or written. Only the file
// worker uses it.
type file struct {
	path        string
	nameIsValid func(string) bool
	stamp       stamp
	text        string
	hashes      map[string]string // by lower-cased name; replaced, never modified
}

// A stamp is a value that differs after each change of a file (FILE-5).
type stamp struct {
	device, inode uint64
	size          int64
	changed       syscall.Timespec
}

var goodHash = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}$`)

// stampOf makes a stamp from the results of Stat; an empty one where that has failed.
func stampOf(info os.FileInfo, err error) stamp {
	if err != nil {
		return stamp{}
	}
	s := info.Sys().(*syscall.Stat_t)
	return stamp{uint64(s.Dev), s.Ino, s.Size, s.Ctim}
}

// isKnown tells whether the file is unchanged since it was last read or written.
func (f *file) isKnown() bool {
	return stampOf(os.Stat(f.path)) == f.stamp
}

// read reads the file. On an error, nothing changes. It takes the stamp first, to notice a change
// during the reading. It refuses a FIFO, which might have no end.
func (f *file) read() error {
	var text []byte
	var hashes map[string]string
	info, err := os.Stat(f.path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err == nil {
		text, err = os.ReadFile(f.path)
	}
	if err == nil {
		hashes, err = f.parse(string(text))
	}
	if err != nil {
		return fmt.Errorf("cannot read accounts %s: %w", f.path, err)
	}
	f.stamp, f.text, f.hashes = stampOf(info, nil), string(text), hashes
	return nil
}

// parse returns the hashes by lower-cased name, or the reason (FILE-1, FILE-2).
func (f *file) parse(text string) (map[string]string, error) {
	hashes := make(map[string]string)
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, hash, isPair := strings.Cut(line, ":")
		problem := ""
		switch {
		case !isPair:
			problem = "not NAME:HASH"
		case !f.nameIsValid(name):
			problem = "invalid name"
		case !goodHash.MatchString(hash):
			problem = "not a bcrypt hash"
		case hashes[strings.ToLower(name)] != "":
			problem = "name given twice"
		}
		if problem != "" {
			return nil, fmt.Errorf("line %d: %s", i+1, problem)
		}
		hashes[strings.ToLower(name)] = hash
	}
	return hashes, nil
}

// lockFile locks the accounts file for as long as the file that it returns is open (FILE-8).
func lockFile(path string) (*os.File, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		err = errors.New("in use by another server")
	}
	return lock, err
}

// change changes, adds or (for "") removes the hash of a name, and keeps all other lines (FILE-7).
func (f *file) change(name, hash string) error {
	text := editText(f.text, name, hash)
	if err := f.replace(text); err != nil {
		return fmt.Errorf("cannot change accounts %s: %w", f.path, err)
	}
	f.text, f.hashes = text, maps.Clone(f.hashes)
	if hash != "" {
		f.hashes[strings.ToLower(name)] = hash
	} else {
		delete(f.hashes, strings.ToLower(name))
	}
	return nil
}

// editText returns the text of the file with one account changed, added at the end, or removed.
func editText(text, name, hash string) string {
	var edited strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n") // the last one may lack it
		given, _, _ := strings.Cut(line, ":")
		switch {
		case !strings.EqualFold(given, name):
			edited.WriteString(line + "\n")
		case hash != "":
			edited.WriteString(given + ":" + hash + "\n")
			hash = ""
		}
	}
	if hash != "" {
		edited.WriteString(name + ":" + hash + "\n")
	}
	return edited.String()
}

// replace writes a new file beside the old one, flushes it to disk, and renames it (FILE-7).
func (f *file) replace(text string) error {
	path, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		return err
	}
	os.Remove(path + ".new") // it may be left from a crash
	const flags = os.O_CREATE | os.O_EXCL | os.O_WRONLY | syscall.O_NOFOLLOW
	aside, err := os.OpenFile(path+".new", flags, 0o600)
	if err != nil {
		return err
	}
	defer aside.Close()
	_, err = aside.WriteString(text)
	if err == nil {
		err = aside.Sync()
	}
	if err == nil && !f.isKnown() {
		err = errors.New("another program has changed it")
	}
	if err == nil {
		err = os.Rename(aside.Name(), path)
	}
	if err != nil {
		os.Remove(aside.Name())
		return err
	}
	f.stamp = stampOf(aside.Stat())
	if folder, err := os.Open(filepath.Dir(path)); err == nil {
		folder.Sync() // flushes the new name; an error does not undo the change
		folder.Close()
	}
	return nil
}

// --------------------------------------- The workers ----------------------------------------

// work does one job after the other. It is a goroutine with its own thread, which may have a low
// priority. Not the lowest one: the thread may hold a lock of Go's scheduler.
func work(jobs chan *Job, do, report func(*Job), niceness int) {
	runtime.LockOSThread()
	if niceness > 0 { // otherwise it keeps the priority of the program
		syscall.Setpriority(syscall.PRIO_PROCESS, 0, niceness) // on Linux, of this thread alone
	}
	for job := range jobs {
		if job.wanted.Err() == nil {
			do(job)
			job.password = ""
			report(job)
		}
	}
}

// check checks a password (ACCT-3).
func check(job *Job) {
	job.Done = len(job.password) <= MaxPassword &&
		bcrypt.CompareHashAndPassword([]byte(job.Hash), []byte(job.password)) == nil
}

// keep does a job of the file worker. If the account is not as it was, nothing changes.
func (f *file) keep(job *Job) {
	if job.Task == Register || job.Task == Passwd {
		hash, err := bcrypt.GenerateFromPassword([]byte(job.password), hashCost)
		hash = bytes.Replace(hash, []byte("$2a$"), []byte("$2y$"), 1) // as `htpasswd -B` writes it
		job.NewHash, job.Err = string(hash), err
	}
	if job.Err == nil && (job.Task == reload || !f.isKnown()) {
		job.Err = f.read()
	}
	if job.Err == nil && job.Task != reload && f.hashes[strings.ToLower(job.Name)] == job.Hash {
		job.Err = f.change(job.Name, job.NewHash)
		job.Done = job.Err == nil
	}
	job.hashes = f.hashes
}
