package keystore

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestReportsAreReplacedAndSetAside(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	if data, err := l.Reports.Load(); err != nil || data != nil {
		t.Fatalf("%q, %v before there is a file", data, err)
	}
	for _, text := range []string{"one", "two"} {
		if err := l.Reports.Save([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := l.Reports.Load(); err != nil || string(data) != "two" {
		t.Errorf("%q, %v", data, err)
	}
	if info, err := os.Stat(l.Reports.path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := l.Reports.Save([]byte(strings.Repeat("x", maxFile+1))); err == nil || !strings.Contains(err.Error(), "nothing was written") {
		t.Errorf("what can't be read back is written: %v", err)
	}
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	kept, err := l.Reports.SetAside(at)
	if err != nil || !strings.HasSuffix(kept, "/reports.json.damaged-20261130T120000Z") {
		t.Fatalf("%q, %v", kept, err)
	}
	if data, err := os.ReadFile(kept); err != nil || string(data) != "two" {
		t.Errorf("%q, %v", data, err)
	}
	if data, err := l.Reports.Load(); err != nil || data != nil {
		t.Errorf("%q, %v after it was set aside", data, err)
	}
}

// A file that others can write would let them close the gate, or open it again.
func TestReportsThatOthersCanWriteAreNotRead(t *testing.T) {
	t.Parallel()
	l := newLineage(t)
	if err := l.Reports.Save([]byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(l.Reports.path(), 0o666); err != nil {
		t.Fatal(err)
	}
	if data, err := l.Reports.Load(); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("%q, %v", data, err)
	}
}
