package cli_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Every message that names a command names one that works in the very state in which the
// message appears. So whenever a script has keepkey say something, each command in it is
// run, and everything is put back after that.

// adviceEnv names a directory: a file for each command that was tried, which holds what is
// wrong with it.
const adviceEnv = "KEEPKEY_TEST_ADVICE"

// advised finds commands at the ends of lines, and those that ask for help.
var advised = regexp.MustCompile(`(?m): keepkey ((?:renew|rotate|channel|ledger|lineage|host|adopt|report|plan|pins|status) [^"\n]*)|; keepkey ((?:[a-z]+ )*--help) `)

// tryAdvice runs each command that was recommended, once for each script.
func tryAdvice(output []byte) error {
	dir, work := os.Getenv(adviceEnv), os.Getenv("WORK")
	if _, err := os.Stat(filepath.Join(work, "state", "daemon.sock")); err == nil {
		return nil // nothing can be as it was while a daemon runs
	}
	for _, m := range advised.FindAllSubmatch(output, -1) {
		command := strings.TrimSpace(string(m[1]) + string(m[2]))
		sum := sha256.Sum256([]byte(work + "\x00" + command))
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%x", sum[:8])), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		wrong, err := tryCommand(dir, work, strings.Fields(command))
		if wrong != "" {
			wrong = fmt.Sprintf("%s: keepkey %s: %s\nafter:\n%s", filepath.Base(work), command, wrong, output)
		}
		_, writeErr := f.WriteString(wrong)
		if err := errors.Join(err, writeErr, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// tryCommand says what is wrong with a command, and leaves everything as it was.
func tryCommand(dir, work string, args []string) (wrong string, err error) {
	saved, err := os.MkdirTemp(dir, "saved-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(saved)
	if err := copyTree(filepath.Join(saved, "work"), work); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "keepkey", args...)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), adviceEnv+"=")
	out, runErr := cmd.CombinedOutput()
	err = errors.Join(emptyDir(work), copyInto(work, filepath.Join(saved, "work")))
	var exit *exec.ExitError
	if runErr != nil && !errors.As(runErr, &exit) {
		return runErr.Error(), err
	}
	return pointless(cmd.ProcessState.ExitCode(), out), err
}

// pointless says why a command should not have been recommended.
func pointless(status int, out []byte) string {
	switch {
	case status == exitGate, bytes.Contains(out, []byte("if there is none, choose a key")):
		// That the gate is closed is told, or that nothing shows which key is the active
		// one, with what a person can do about it.
	case status == exitUsage, bytes.Contains(out, []byte("safe: nothing was changed")):
		return fmt.Sprintf("exit status %d\n%s", status, out)
	}
	return ""
}

// emptyDir removes what is in a directory, which stays.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// copyInto copies what is in one directory into another.
func copyInto(to, from string) error {
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		err = errors.Join(err, copyTree(filepath.Join(to, e.Name()), filepath.Join(from, e.Name())))
	}
	return err
}

// The exit statuses of a command that makes no sense, and of one that would lock a client
// out.
const (
	exitUsage = 2
	exitGate  = 3
)

// adviceProblems returns what is wrong with commands that were recommended, and how many
// were tried.
func adviceProblems(dir string) (problems []string, tried int, err error) {
	files, err := os.ReadDir(dir)
	for _, f := range files {
		data, readErr := os.ReadFile(filepath.Join(dir, f.Name()))
		if err = errors.Join(err, readErr); len(data) > 0 {
			problems = append(problems, string(data))
		}
	}
	return problems, len(files), err
}
