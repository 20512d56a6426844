// Package accounts holds the names that have a password: the file, the hashes, and the workers.
//
// What takes long is done by workers, so that the chat goes on. Passwords are checked by as many
// of them as there are processors. One worker apart, the clerk, does all that touches the file
// after the start, one job after the other, so that checks and changes do not wait for each other
// (ACCT-13). A worker knows only its job; what came of it is put in there.
//
// It offers Open, HashOf, Check, Change, Reload, and Finished, to which the owner gives each job
// that `report` has brought. All but `report` is called by one goroutine, the owner's.
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

// MaxPassword is how many bytes of a password bcrypt looks at.
const MaxPassword = 72

const (
	hashCost   = 10  // of a new hash: each more doubles the time that a guess takes
	maxChanges = 100 // that wait for the clerk
	niceness   = 10  // of a worker: it has a ninth of the share of others
)

// A Task is what a job is about.
type Task string

// The tasks; their names are those in the log.
const (
	Check      Task = "check"      // whether a password is the right one
	Register   Task = "register"   // make an account
	Passwd     Task = "passwd"     // change its password
	Unregister Task = "unregister" // take it away
	reload     Task = "reload"     // read the file
)

// A Job is work for a worker, with all that it needs, and what came of it.
type Job struct {
	Owner    any // for whom; nil where the file is read anew
	Task     Task
	Name     string
	password string
	Hash     string             // of the account when this was asked for; none where it was no account
	Forget   context.CancelFunc // takes the job back, where no worker has begun it
	wanted   context.Context    // until it is taken back

	Done    bool              // the password is right, or the account is changed
	NewHash string            // of the account that was changed; none where it is no more
	Err     error             // what went wrong
	hashes  map[string]string // all accounts as the clerk leaves them
}

// Accounts are the accounts in force, and the way to the workers, who check and change them.
type Accounts struct {
	hashes  map[string]string // by lower name
	checks  chan *Job
	changes chan *Job // for the clerk
	lock    *os.File  // is held as long as it is open
}

// Open reads and locks the file, and starts the workers. Each job that is done is given to `report`
// by its worker.
//
// The file is read before it is locked, so that a bad one gets no lock file beside it, and again
// afterwards, since another server may have changed it until then.
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
	// The workers take no processor from the others: Go may run as many more threads at a time.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + processors + 1)
	for range processors {
		go work(a.checks, check, report)
	}
	go work(a.changes, f.keep, report)
	return a, nil
}

// HashOf gives the hash of an account, or none where the name is no account.
func (a *Accounts) HashOf(name string) string {
	if a == nil {
		return ""
	}
	return a.hashes[strings.ToLower(name)]
}

// Check has a worker see whether a password is an account's. They take their turns.
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

// Change has the clerk change an account, if it is then still as it is now. Where too many changes
// wait, none is made, and there is no job (ACCT-13).
func (a *Accounts) Change(owner any, task Task, name, password string) *Job {
	job := a.newJob(owner, task, name, password)
	select {
	case a.changes <- job:
		return job
	default:
		return nil
	}
}

// Reload has the clerk read the file anew (FILE-4).
func (a *Accounts) Reload() {
	job := a.newJob(nil, reload, "", "")
	go func() { a.changes <- job }()
}

func (a *Accounts) newJob(owner any, task Task, name, password string) *Job {
	job := &Job{Owner: owner, Task: task, Name: name, password: password, Hash: a.HashOf(name)}
	job.wanted, job.Forget = context.WithCancel(context.Background())
	return job
}

// Finished takes note of a job that is done: the accounts that it left count from now on.
func (a *Accounts) Finished(job *Job) {
	if job.hashes != nil {
		a.hashes = job.hashes
	}
}

// --------------------------------------- The workers ----------------------------------------

// work does one job after the other. It is one goroutine for each worker, to the end, on a thread
// of its own, which has a lower priority. That is not the lowest: a worker may hold what others
// need, such as a lock of Go's scheduler.
func work(jobs chan *Job, do, report func(*Job)) {
	runtime.LockOSThread()
	syscall.Setpriority(syscall.PRIO_PROCESS, 0, niceness) // in Linux, of this thread alone
	for job := range jobs {
		if job.wanted.Err() == nil {
			do(job)
			job.password = ""
			report(job)
		}
	}
}

// check sees whether a password is the right one (ACCT-3).
func check(job *Job) {
	job.Done = len(job.password) <= MaxPassword &&
		bcrypt.CompareHashAndPassword([]byte(job.Hash), []byte(job.password)) == nil
}

// keep does a job of the clerk's. Where the account is not as it was, nothing changes.
func (f *file) keep(job *Job) {
	if job.Task == Register || job.Task == Passwd {
		hash, err := bcrypt.GenerateFromPassword([]byte(job.password), hashCost)
		hash = bytes.Replace(hash, []byte("$2a$"), []byte("$2y$"), 1) // as htpasswd calls it
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

// ----------------------------------------- The file -----------------------------------------

// A file is the accounts file, and what it held when it was last read or written. After the start
// it is the clerk's alone.
type file struct {
	path        string
	nameIsValid func(string) bool
	stamp       stamp
	text        string
	hashes      map[string]string // by lower name; never changed, but replaced
}

// A stamp is another one after each change to a file.
type stamp struct {
	device, inode uint64
	size          int64
	changed       syscall.Timespec
}

var goodHash = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}$`)

// stampOf makes the stamp of a file out of what Stat gives, an empty one where that has failed.
func stampOf(info os.FileInfo, err error) stamp {
	if err != nil {
		return stamp{}
	}
	s := info.Sys().(*syscall.Stat_t)
	return stamp{uint64(s.Dev), s.Ino, s.Size, s.Ctim}
}

// isKnown tells whether the file is as it was when it was last read or written.
func (f *file) isKnown() bool {
	return stampOf(os.Stat(f.path)) == f.stamp
}

// read reads the file. Where it cannot be used, all stays as it was. The stamp is taken first, so
// that a change meanwhile makes the file unknown. (A pipe might have no end.)
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

// parse gives the hashes by lower name, or says which line is wrong, and why (FILE-1, FILE-2).
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

// lockFile keeps other servers from the accounts for as long as the file that it gives is open.
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

// change gives a name another hash, or none; all other lines stay as they are (FILE-7).
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

// editText gives the text of the file with one account changed, added at the end, or left out.
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

// replace replaces the file in one step, so that at any time there is the old one or the new one,
// whole.
func (f *file) replace(text string) error {
	path, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		return err
	}
	os.Remove(path + ".new") // it may be left over from a crash
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
		err = errors.New("it was changed meanwhile")
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
		folder.Sync() // the change counts already, whatever comes of this
		folder.Close()
	}
	return nil
}
