//go:build linux

package keystore_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"keepkey/internal/durable"
	"keepkey/keystore"
	"keepkey/pinset"
)

// filesystem is one that keys are kept on. The options keep ext4 from writing
// anything that nobody asked to be written: its journal is else committed every 5
// seconds, and inode tables are set to zero in the background. XFS waits 30 seconds.
type filesystem struct{ name, options string }

var filesystems = []filesystem{{"ext4", "commit=3600,noinit_itable"}, {"xfs", "defaults"}}

// TestNothingReportedDoneIsLostInAPowerCut works in a keystore, cuts the power,
// looks at what is left, and goes on in that, again and again. Half of the cuts
// come right after something was reported done, the others at any moment.
//
// The cut makes the file system forget what it did not write. The disk below
// forgets nothing, so a missing flush of a disk's own cache can't be seen here. And
// both file systems keep one journal in order, where a sync takes earlier names along:
// the directory syncs of durable.Mkdir and durable.Append, and that of the unfinished
// directory in durable.CreateDir, would not be missed here.
func TestNothingReportedDoneIsLostInAPowerCut(t *testing.T) {
	t.Parallel()
	const cuts = 24
	for _, kind := range filesystems {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			seed := mathrand.Uint64()
			if s, err := strconv.ParseUint(os.Getenv("KEEPKEY_TEST_SEED"), 10, 64); err == nil {
				seed = s
			}
			t.Logf("KEEPKEY_TEST_SEED=%d", seed)
			d := newDisk(t, kind)
			w := &world{t: t, disk: d, ca: newCA(t), rng: mathrand.New(mathrand.NewPCG(seed, 0))}
			for i := range cuts {
				// A new lineage each time: its directories must last as well.
				w.lineages = append(w.lineages, &lineage{name: "cut-" + strconv.Itoa(i), versions: make(map[int]version)})
				if i%2 == 0 {
					w.cutAfter(operations[i/2%len(operations)])
				} else {
					w.cutAtAnyMoment()
				}
				d.unmount()
				d.mount()
				w.check()
				if t.Failed() {
					t.Fatalf("after cut %d, %s", i+1, w.cut)
				}
				t.Logf("cut %d, %s", i+1, w.cut)
			}
		})
	}
}

// TestPowerCutLosesWhatWasNotSynced shows that the cut of these tests does cut: a
// file that is written and renamed without a sync is not there afterwards.
func TestPowerCutLosesWhatWasNotSynced(t *testing.T) {
	t.Parallel()
	for _, kind := range filesystems {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t, kind)
			path := filepath.Join(d.dir, "state.json")
			if err := durable.Replace(path, []byte("old"), durable.Access{Mode: 0o600}); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+".new", []byte("new"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
			if err := d.cut(); err != nil {
				t.Fatal(err)
			}
			d.unmount()
			d.mount()
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%q is left", got)
			if string(got) == "new" {
				t.Error("the new content is there without a sync: this cut proves nothing")
			}
		})
	}
}

// world is a keystore on a disk, and what it reported done.
type world struct {
	t        *testing.T
	disk     *disk
	ca       ca
	rng      *mathrand.Rand
	store    *keystore.Store
	host     string // the id that was reported
	lineages []*lineage
	doing    string // the operation
	cut      string // when the last cut came, for people
}

// lineage is what was reported done of one, and what was under way: that may be
// found done or not.
type lineage struct {
	name     string
	pins     []pinset.Pin
	state    []byte
	entries  []pinset.Entry
	versions map[int]version
	last     int // the greatest number of a version that was ever reported
	live     int

	creating    bool
	nextState   []byte
	nextEntry   bool
	nextVersion keystore.Chain
	nextLive    int
	nextPrune   int
}

type version struct {
	keystore.Version
	chain keystore.Chain
}

const (
	createKey  = "Create"
	swapState  = "Swap"
	addEntry   = "Swap with an entry"
	addVersion = "Add"
	switchLive = "Switch"
	prune      = "Prune"
)

var operations = []string{createKey, swapState, addEntry, addVersion, switchLive, prune}

// cutAfter cuts the power when op has just been reported done in the newest lineage.
func (w *world) cutAfter(op string) {
	w.t.Helper()
	if err := w.open(); err != nil {
		w.t.Fatal(err)
	}
	defer w.store.Close()
	for range w.rng.IntN(4) {
		if err := w.random(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.cut = "right after " + op
	if err := w.do(w.lineages[len(w.lineages)-1], op); err != nil {
		w.t.Fatal(err)
	}
	if err := w.disk.cut(); err != nil {
		w.t.Fatal(err)
	}
}

// cutAtAnyMoment cuts the power from aside while operations go on.
func (w *world) cutAtAnyMoment() {
	w.t.Helper()
	// Early more often than late: directories are new then.
	part := w.rng.Float64()
	moment := time.Duration(part * part * float64(40*time.Millisecond))
	w.cut = fmt.Sprintf("%v after the start", moment)
	var cutter sync.WaitGroup
	defer cutter.Wait() // before anything is unmounted
	cutter.Go(func() {
		<-time.After(moment)
		if err := w.disk.cut(); err != nil {
			w.t.Error(err)
		}
	})
	w.doing = "OpenLocked"
	err := w.open()
	if err == nil {
		defer w.store.Close()
	}
	for err == nil && !w.t.Failed() {
		err = w.random()
	}
	if !w.disk.out.Load() {
		w.t.Fatalf("failed before the cut: %v", err)
	}
	w.cut += " in " + w.doing
}

func (w *world) open() (err error) {
	if w.store, err = keystore.OpenLocked(filepath.Join(w.disk.dir, "state"), ""); err != nil {
		return err
	}
	if host := w.store.Host(); w.host == "" && w.reported(nil) == nil {
		w.host = host
	} else if w.host != "" && host != w.host {
		w.t.Errorf("the host is %s, and was %s", host, w.host)
	}
	return w.store.Tidy()
}

func (w *world) lineage(m *lineage) *keystore.Lineage {
	w.t.Helper()
	l, err := w.store.Lineage(m.name)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// random does any operation, mostly in the newest lineage.
func (w *world) random() error {
	m := w.lineages[len(w.lineages)-1]
	if w.rng.IntN(4) == 0 {
		m = w.lineages[w.rng.IntN(len(w.lineages))]
	}
	return w.do(m, operations[w.rng.IntN(len(operations))])
}

// do does an operation, after those that it can't be done without. What is under
// way stays noted if it fails.
func (w *world) do(m *lineage, op string) error {
	first := ""
	switch {
	case op == addEntry && m.state == nil:
		first = swapState
	case op == addVersion && len(m.pins) == 0:
		first = createKey
	case op == switchLive && m.live == m.newest(0):
		first = addVersion // if it is live already, it can't be seen whether a switch is lost
	case op == prune && m.newest(m.live) == 0:
		first = addVersion
	}
	if first != "" {
		if err := w.do(m, first); err != nil {
			return err
		}
	}
	w.doing = op
	l := w.lineage(m)
	switch op {
	case createKey:
		m.creating = true
		pin, err := l.Keys.Create(pinset.EC256)
		if err := w.reported(err); err != nil {
			return err
		}
		m.pins, m.creating = append(m.pins, pin), false

	case swapState, addEntry:
		old, err := l.Records.Load()
		if err != nil {
			return err
		}
		var entry *pinset.Entry
		if m.nextEntry = op == addEntry; m.nextEntry {
			entry = &pinset.Entry{
				At: time.Now(), Kind: pinset.Intent, Channel: string(w.content(1 + w.rng.IntN(200))), Version: len(m.entries) + 1,
				Pins: []pinset.Pin{{1}, {2}}, Lifetime: &pinset.Lifetime{Forever: true},
			}
			for range w.rng.IntN(60) { // lines of very different lengths
				entry.Pins = append(entry.Pins, pinset.Pin(w.content(32)))
			}
		}
		m.nextState = fmt.Appendf(nil, "%q", w.content(1+w.rng.IntN(20_000)))
		now, err := l.Records.Swap(old, m.nextState, entry)
		if err := w.reported(err); err != nil {
			return err
		}
		m.state, m.nextState = m.nextState, nil
		m.entries, m.nextEntry = now.Ledger.Entries(), false

	case addVersion:
		key, err := l.Keys.Signer(m.pins[w.rng.IntN(len(m.pins))])
		if err != nil {
			return err
		}
		m.nextVersion = w.ca.issue(w.t, key.Public())
		v, err := l.Live.Add(m.last, m.nextVersion, key)
		if err := w.reported(err); err != nil {
			return err
		}
		if v.N != m.last+1 {
			w.t.Fatalf("%s: version %d was stored as %d", m.name, m.last+1, v.N)
		}
		m.versions[v.N], m.last, m.nextVersion = version{v, m.nextVersion}, v.N, nil

	case switchLive:
		m.nextLive = m.newest(0)
		if err := w.reported(l.Live.Switch(m.nextLive)); err != nil {
			return err
		}
		m.live, m.nextLive = m.nextLive, 0

	case prune:
		m.nextPrune = m.newest(m.live)
		if err := w.reported(l.Live.Prune(m.nextPrune)); err != nil {
			return err
		}
		delete(m.versions, m.nextPrune)
		m.nextPrune = 0
	}
	return nil
}

// newest is the greatest number of a version but one; 0 if there is none.
func (m *lineage) newest(but int) int {
	newest := 0
	for n := range m.versions {
		if n != but {
			newest = max(newest, n)
		}
	}
	return newest
}

// reported is the error of an operation, or another if it succeeded when the power
// was out already. Such a success is no promise: a real cut leaves nobody to hear of
// it, and both file systems sometimes let an fsync succeed that the shutdown overtook.
func (w *world) reported(err error) error {
	if err == nil && w.disk.out.Load() {
		return errors.New("done after the cut")
	}
	return err
}

// content is n bytes that no other content is like.
func (w *world) content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(w.rng.IntN(26))
	}
	return b
}

// check compares what is on the disk with what was reported done. What was under
// way and is found done counts from then on; of what was not finished nothing is left.
func (w *world) check() {
	t := w.t
	t.Helper()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	defer w.store.Close()
	for _, m := range w.lineages {
		l := w.lineage(m)
		dir := filepath.Dir(l.Live.Dir())
		for _, name := range names(t, dir) {
			if !slices.Contains([]string{"keys", "certs", "live", "state.json", "ledger.jsonl"}, name) {
				t.Errorf("%s: there is a %s", m.name, name)
			}
		}
		w.checkKeys(m, l, dir)
		w.checkRecords(m, l)
		w.checkVersions(m, l, dir)
	}
}

func (w *world) checkKeys(m *lineage, l *keystore.Lineage, dir string) {
	t := w.t
	t.Helper()
	for _, name := range names(t, filepath.Join(dir, "keys")) {
		pin, err := pinset.ParseHex(strings.TrimSuffix(name, ".pem"))
		if err != nil {
			t.Errorf("%s: there is a key file %s", m.name, name)
			continue
		}
		if slices.Contains(m.pins, pin) {
			continue
		}
		if !m.creating {
			t.Errorf("%s: key %s comes from nowhere", m.name, name)
		}
		m.pins, m.creating = append(m.pins, pin), false
	}
	m.creating = false
	for _, pin := range m.pins {
		if err := l.Keys.Check(pin); err != nil {
			t.Error(err)
		}
	}
}

func (w *world) checkRecords(m *lineage, l *keystore.Lineage) {
	t := w.t
	t.Helper()
	s, err := l.Records.Load()
	if err == nil {
		err = s.LedgerProblem
	}
	if err != nil {
		t.Errorf("%s: %v", m.name, err)
		return
	}
	entries := s.Ledger.Entries()
	more := len(entries) - len(m.entries)
	switch {
	case more < 0 || !sameEntries(entries[:len(m.entries)], m.entries):
		t.Errorf("%s: the ledger's %d entries do not begin with the %d reported", m.name, len(entries), len(m.entries))
	case more > 1 || more == 1 && !m.nextEntry:
		t.Errorf("%s: %d entries come from nowhere", m.name, more)
	case bytes.Equal(s.State, m.state):
	case m.nextState == nil || !bytes.Equal(s.State, m.nextState):
		t.Errorf("%s: the state's %d bytes are neither the %d reported nor the %d under way", m.name, len(s.State), len(m.state), len(m.nextState))
	case m.nextEntry && more == 0:
		t.Errorf("%s: the state under way is there without its entry", m.name)
	}
	m.state, m.entries = s.State, entries
	m.nextState, m.nextEntry = nil, false
}

func sameEntries(a, b []pinset.Entry) bool {
	return slices.EqualFunc(a, b, func(x, y pinset.Entry) bool { return reflect.DeepEqual(x, y) })
}

func (w *world) checkVersions(m *lineage, l *keystore.Lineage, dir string) {
	t := w.t
	t.Helper()
	found := names(t, filepath.Join(dir, "certs"))
	for _, name := range found {
		n, err := strconv.Atoi(name)
		_, known := m.versions[n]
		switch {
		case err == nil && known:
		case err == nil && n == m.last+1 && m.nextVersion != nil:
			pin := pinset.OfCertificate(m.nextVersion.Leaf())
			v, err := l.Live.Inspect(n, keystore.Want{Pin: pin, Domains: domains, Now: time.Now()})
			if err != nil {
				t.Error(err)
			}
			m.versions[n], m.last, m.nextVersion = version{v, m.nextVersion}, n, nil
		default:
			t.Errorf("%s: certs/%s comes from nowhere", m.name, name)
		}
	}
	m.nextVersion = nil
	if m.nextPrune != 0 && !slices.Contains(found, strconv.Itoa(m.nextPrune)) {
		delete(m.versions, m.nextPrune)
	}
	m.nextPrune = 0
	for n, v := range m.versions {
		if err := l.Live.Verify(v.Version); err != nil {
			t.Error(err)
			continue
		}
		key, err := l.Keys.Signer(pinset.OfCertificate(v.chain.Leaf()))
		if err != nil {
			t.Error(err)
			continue
		}
		keyPEM, err := keystore.MarshalKey(key)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"cert.pem":      string(v.chain[:1].PEM()),
			"chain.pem":     string(v.chain[1:].PEM()),
			"fullchain.pem": string(v.chain.PEM()),
			"privkey.pem":   string(keyPEM),
			"combined.pem":  string(keyPEM) + string(v.chain.PEM()),
		} {
			got, err := os.ReadFile(filepath.Join(dir, "certs", strconv.Itoa(n), name))
			if err != nil || string(got) != want {
				t.Errorf("%s: %s of version %d has %d bytes, not the %d stored (%v)", m.name, name, n, len(got), len(want), err)
			}
		}
	}
	live, err := l.Live.Current()
	if err != nil || live != m.live && (live == 0 || live != m.nextLive) {
		t.Errorf("%s: version %d is live, reported was %d and under way %d (%v)", m.name, live, m.live, m.nextLive, err)
	}
	m.live, m.nextLive = live, 0
}

// names lists a directory. Without the directory there is nothing in it.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

var domains = []string{"api.example.com"}

type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newCA(t *testing.T) ca {
	t.Helper()
	key, err := keystore.GenerateKey(pinset.EC256)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return ca{sign(t, template, template, key.Public(), key), key}
}

// issue signs with a random number, so that no two certificates are alike.
func (c ca) issue(t *testing.T, pub crypto.PublicKey) keystore.Chain {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetUint64(mathrand.Uint64()), DNSNames: domains,
		NotBefore: c.cert.NotBefore, NotAfter: c.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	return keystore.Chain{sign(t, template, c.cert, pub, c.key), c.cert}
}

func sign(t *testing.T, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// disk is a file system in a file, mounted at dir.
type disk struct {
	t          *testing.T
	kind       filesystem
	image, dir string
	root       *os.File    // open while mounted
	out        atomic.Bool // the power is out, or about to be
}

// newDisk makes and mounts a file system. Where that can't be, the test is
// skipped, unless KEEPKEY_TEST_POWERCUT=must asks for it.
func newDisk(t *testing.T, kind filesystem) *disk {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("KEEPKEY_TEST_POWERCUT") == "must" {
		skip = t.Fatalf
	}
	if os.Geteuid() != 0 {
		skip("only root can mount a file system to cut the power of")
	}
	mkfs, err := exec.LookPath("mkfs." + kind.name)
	if err != nil {
		skip("no %s to cut the power of: %v", kind.name, err)
	}
	temp := t.TempDir()
	d := &disk{t: t, kind: kind, image: filepath.Join(temp, "image"), dir: filepath.Join(temp, "mounted")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const size = 320 << 20 // XFS wants 300 MB; next to nothing of it is used
	if err := os.Truncate(d.image, size); err != nil {
		t.Fatal(err)
	}
	if err := run(mkfs, "-q", d.image); err != nil {
		t.Fatal(err)
	}
	if err := d.tryMount(); err != nil {
		skip("no %s to cut the power of: %v", kind.name, err)
	}
	t.Cleanup(func() {
		if d.root != nil {
			d.unmount()
		}
	})
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	if err := d.tryMount(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) tryMount() error {
	if err := run("mount", "-t", d.kind.name, "-o", "loop,"+d.kind.options, d.image, d.dir); err != nil {
		return err
	}
	root, err := os.Open(d.dir)
	if err != nil {
		return errors.Join(err, run("umount", d.dir))
	}
	d.root = root
	d.out.Store(false)
	return nil
}

// cut makes the file system forget at once all that it has not written, and fail
// from then on.
func (d *disk) cut() error {
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN
		noLogFlush = 2
	)
	d.out.Store(true)
	how := uint32(noLogFlush)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, d.root.Fd(), shutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		return fmt.Errorf("cutting the power: %w", errno)
	}
	return nil
}

// unmount takes the loop device away as well.
func (d *disk) unmount() {
	d.t.Helper()
	d.root.Close()
	d.root = nil
	// A program that is just being started, by any test, has our files open for an
	// instant, though they are closed here.
	var err error
	for range 100 {
		if err = run("umount", d.dir); err == nil {
			return
		}
	}
	d.t.Fatal(errors.Join(err, run("umount", "--lazy", d.dir)))
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
