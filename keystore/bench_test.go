package keystore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"keepkey/pinset"
)

// The benchmarks are of what a run does with a lineage for which nothing is due, each
// beside reading the same files and doing nothing with them. x-bare is the ratio of the
// two, measured in turns.

func beside(b *testing.B, work func() error, files ...string) {
	b.Helper()
	b.ReportAllocs()
	var bare, whole time.Duration
	for b.Loop() {
		start := time.Now()
		for _, path := range files {
			if _, err := os.ReadFile(path); err != nil {
				b.Fatal(err)
			}
		}
		middle := time.Now()
		if err := work(); err != nil {
			b.Fatal(err)
		}
		bare += middle.Sub(start)
		whole += time.Since(middle)
	}
	b.ReportMetric(float64(whole)/float64(bare), "x-bare")
	b.ReportMetric(float64(whole)/float64(b.N), "ns/work")
	b.ReportMetric(float64(bare)/float64(b.N), "ns/bare")
}

func benchLineage(b *testing.B) *Lineage {
	b.Helper()
	s, err := OpenLocked(filepath.Join(b.TempDir(), "state"), "")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	l, err := s.Lineage("api.example.com")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func BenchmarkLoad(b *testing.B) {
	for name, entries := range map[string]int{"4 entries": 4, "40 entries": 40} {
		b.Run(name, func(b *testing.B) {
			l := benchLineage(b)
			s := begun(b, l, entries)
			state := make([]byte, 0, 3000) // as long as that of a lineage with a channel
			for state = append(state, `{"a":["`...); len(state) < 2000; {
				state = append(state, `text of some length","`...)
			}
			swap(b, l, s, string(state)+`"]}`, nil)
			beside(b, func() error {
				_, err := l.Records.Load()
				return err
			}, l.Records.statePath(), l.Records.ledgerPath())
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, kt := range pinset.KeyTypes() {
		b.Run(string(kt), func(b *testing.B) {
			l := benchLineage(b)
			pin, err := l.Keys.Create(kt)
			if err != nil {
				b.Fatal(err)
			}
			beside(b, func() error { return l.Keys.Check(pin) }, l.Keys.path(pin))
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	l := benchLineage(b)
	v, want := addVersion(b, l)
	var files []string
	for _, name := range versionFiles {
		files = append(files, filepath.Join(l.Live.versionDir(v.N), name))
	}
	b.Run("by the digest", func(b *testing.B) { beside(b, func() error { return l.Live.Verify(v) }, files...) })
	b.Run("from the files alone", func(b *testing.B) {
		beside(b, func() error {
			_, err := l.Live.Inspect(v.N, want)
			return err
		}, files...)
	})
}

// BenchmarkNothingDue is all that a run asks of this package for one lineage: an active
// key and a backup key, a certificate, four entries in the ledger.
func BenchmarkNothingDue(b *testing.B) {
	l := benchLineage(b)
	begun(b, l, 4)
	v, want := addVersion(b, l)
	backup, err := l.Keys.Create(pinset.EC256)
	if err != nil {
		b.Fatal(err)
	}
	if err := l.Live.Switch(v.N); err != nil {
		b.Fatal(err)
	}
	files := []string{l.Records.statePath(), l.Records.ledgerPath(), l.Keys.path(want.Pin), l.Keys.path(backup)}
	for _, name := range versionFiles {
		files = append(files, filepath.Join(l.Live.versionDir(v.N), name))
	}
	store := l.Records.store
	beside(b, func() error {
		l, err := store.Lineage("api.example.com")
		if err != nil {
			return err
		}
		_, err = l.Records.Load()
		if n, currentErr := l.Live.Current(); n != v.N {
			return errors.Join(currentErr, errors.New("another version is live"))
		}
		return errors.Join(err, l.Keys.Check(want.Pin), l.Keys.Check(backup), l.Live.Verify(v))
	}, files...)
}
