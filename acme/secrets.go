package acme

import (
	"net/url"
	"slices"
	"strings"
	"sync"
)

// DNS providers put what they were given into their errors and into what lego logs:
// DuckDNS its token, as part of an address. So what must not be seen is replaced in
// both, for all of the process, since lego's logger is the process's.

// shortestSecret is how long a value has to be, in bytes: a shorter one would be found
// in words.
const shortestSecret = 8

var secrets struct {
	sync.RWMutex
	known    []string
	replacer *strings.Replacer
}

// Hide has errors of solvers, and what lego logs, say "..." in the place of these
// values, as they are or as they stand in an address.
func Hide(values ...string) {
	secrets.Lock()
	defer secrets.Unlock()
	before := len(secrets.known)
	for _, v := range values {
		for _, form := range []string{v, url.QueryEscape(v), url.PathEscape(v)} {
			if len(v) >= shortestSecret && !slices.Contains(secrets.known, form) {
				secrets.known = append(secrets.known, form)
			}
		}
	}
	if len(secrets.known) == before {
		return // as for every further certificate with the same file
	}
	// The longest first: one can be the beginning of another.
	slices.SortFunc(secrets.known, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(secrets.known))
	for _, form := range secrets.known {
		pairs = append(pairs, form, "...")
	}
	secrets.replacer = strings.NewReplacer(pairs...)
}

func hidden(text string) string {
	secrets.RLock()
	defer secrets.RUnlock()
	if secrets.replacer == nil {
		return text
	}
	return secrets.replacer.Replace(text)
}

// Hidden returns an error that says the same without what [Hide] was told of.
func Hidden(err error) error {
	if err == nil {
		return nil
	}
	if text := hidden(err.Error()); text != err.Error() {
		return &hiddenError{text, err}
	}
	return err
}

type hiddenError struct {
	text string
	err  error
}

func (e *hiddenError) Error() string { return e.text }
func (e *hiddenError) Unwrap() error { return e.err }
