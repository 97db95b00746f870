package apply_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keepkey/apply"
	"keepkey/config"
	"keepkey/hooks"
	"keepkey/internal/acmetest"
	"keepkey/pinset"
	"keepkey/pinset/format"
	"keepkey/plan"
)

// raceDetector says whether the tests were built with it.
var raceDetector bool

const day = 24 * time.Hour

// TestYearsOfRolloversLockNobodyOut lives twice through four years of renewals,
// rollovers, undone rollovers and failing publications, with clients that really
// pin. Some of them hold on to an old pin set as long as they possibly may.
func TestYearsOfRolloversLockNobodyOut(t *testing.T) {
	t.Parallel()
	days, seeds := 1500, uint64(2)
	switch {
	case testing.Short():
		days, seeds = 100, 1
	case raceDetector:
		days = 300 // it makes all of this several times as slow
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			y := newYears(t, seed, false)
			y.pass(days)
			if y.refused > 0 {
				t.Errorf("%d handshakes were refused", y.refused)
			}
			y.wantAtLeast("renewals", y.renewals, days/40)
			y.wantAtLeast("completed rollovers", y.rollovers, days/150)
			y.wantAtLeast("rollovers asked for while the gate was closed", y.closed, days/500)
			y.wantAtLeast("undone rollovers", y.undone, days/1000)
			y.wantAtLeast("publications that failed", y.failed, days/300)
		})
	}
}

// wantAtLeast holds a life to the events without which it would prove little.
func (y *years) wantAtLeast(what string, got, want int) {
	y.t.Helper()
	if got < want {
		y.t.Errorf("only %d %s, want %d", got, what, want)
	}
}

// TestYearsWithoutTheGateLockClientsOut is the proof that the clients of the other
// test would notice: here a new key is taken at once.
func TestYearsWithoutTheGateLockClientsOut(t *testing.T) {
	t.Parallel()
	days := 400
	if testing.Short() {
		days = 150
	}
	y := newYears(t, 0, true)
	y.pass(days)
	y.wantAtLeast("switches that wait for nothing", y.blind, days/130)
	y.wantAtLeast("refused handshakes", y.refused, 1)
}

// years is a world whose days are lived through one by one.
type years struct {
	*world
	cert     config.Certificate
	noGate   bool
	rng      *rand.Rand
	clock    atomic.Int64 // in Unix nanoseconds; stands still during a run, so that a seed always gives the same story
	runner   *apply.Runner
	server   *tlsServer
	reload   string // the deploy hook leaves this file when the server is to reload
	outlets  []*outlet
	clients  []*pinningClient
	turns    []time.Time // instants at which a pin set's lifetime ends
	rollover *plan.Rollover
	nextAsk  time.Time

	handshakes, refused, renewals, rollovers, closed, undone, failed, blind int
}

func newYears(t *testing.T, seed uint64, noGate bool) *years {
	w := newWorld(t, acmetest.Options{RSA: true, Profiles: map[string]time.Duration{"days45": 45 * day}})
	y := &years{
		world: w, noGate: noGate, rng: rand.New(rand.NewPCG(seed, 0)),
		server: startTLSServer(t), reload: filepath.Join(w.dir, "reload"), cert: w.cert("api", "api.example.com"),
	}
	y.clock.Store(time.Now().Truncate(time.Second).UnixNano())
	t.Cleanup(y.stop)
	w.ca.Misbehave(w.ca.Shift(func() time.Duration { return time.Until(y.now()) }))
	root, err := w.ca.Root(0)
	if err != nil {
		t.Fatal(err)
	}
	y.cert.ACME.Profile = "days45"
	y.cert.KeepOldPin = 10 * day
	y.cert.Deploy = []hooks.Hook{hooks.Command{Args: []string{"touch", y.reload}}}
	y.outlets = []*outlet{newOutlet(t, w.dir, "app", 30*day), newOutlet(t, w.dir, "web", 2*day)}
	for _, o := range y.outlets {
		y.cert.Channels = append(y.cert.Channels, o.channel())
	}
	app, web := y.outlets[0], y.outlets[1]
	// How often they download, a day, besides when they have to.
	for _, c := range []*pinningClient{{outlet: app}, {outlet: app, often: 0.1}, {outlet: web}, {outlet: web, often: 0.4}} {
		c.tls = c.config(root, y.now)
		y.clients = append(y.clients, c)
	}
	return y
}

func (y *years) now() time.Time { return time.Unix(0, y.clock.Load()) }

// pass lets days go by.
func (y *years) pass(days int) {
	began, first := time.Now(), y.now()
	for n := range days {
		for i, at := range y.moments(first.Add(time.Duration(n) * day)) {
			y.clock.Store(at.UnixNano())
			if i == 0 && n > 0 {
				y.fail()
				y.ask()
			}
			y.run()
			for _, c := range y.clients {
				y.visit(c)
			}
		}
	}
	y.t.Logf("%d days with %d renewals, %d rollovers completed (%d asked for while the gate was closed, %d undone), %d blind switches, %d failed publications; %d handshakes, %d refused; %s",
		days, y.renewals, y.rollovers, y.closed, y.undone, y.blind, y.failed, y.handshakes, y.refused, time.Since(began).Round(time.Millisecond))
}

// moments are the times in a day at which something happens: once at random, and
// where a lifetime ends, at its last instant and right after.
func (y *years) moments(midnight time.Time) []time.Time {
	moments := []time.Time{midnight.Add(time.Duration(y.rng.IntN(24*60)) * time.Minute)}
	for _, at := range y.turns {
		if !at.Before(midnight) && at.Before(midnight.Add(day)) {
			moments = append(moments, at, at.Add(1))
		}
	}
	slices.SortFunc(moments, time.Time.Compare)
	return slices.CompactFunc(moments, time.Time.Equal)
}

// fail ends and begins the failures of the publish hooks.
func (y *years) fail() {
	for _, o := range y.outlets {
		if o.failing && y.now().After(o.until) {
			o.mend(y.t)
		}
		if !o.failing && y.rng.IntN(60) == 0 {
			y.failFor(o)
		}
	}
}

func (y *years) failFor(o *outlet) {
	o.fail(y.t, y.rng.IntN(2) == 0)
	o.until = y.now().Add(time.Duration(1+y.rng.IntN(14)) * day)
}

// ask is what a person does: a rollover now and then, sometimes soon after the
// last one, and sometimes it is undone.
func (y *years) ask() {
	if y.rollover != nil {
		if y.rng.IntN(60) == 0 {
			if err := y.rotate(apply.RotateOptions{Undo: true}); err != nil {
				y.t.Fatal(err)
			}
			y.undone++
		}
		return
	}
	if y.now().Before(y.nextAsk) {
		return
	}
	first := y.nextAsk.IsZero()
	y.nextAsk = y.now().Add(time.Duration(80+y.rng.IntN(100)) * day)
	if y.rng.IntN(5) < 3 {
		y.nextAsk = y.now().Add(time.Duration(y.rng.IntN(25)) * day) // before the gate is open
	}
	if first {
		return
	}
	if o := y.outlets[y.rng.IntN(len(y.outlets))]; !o.failing && y.rng.IntN(2) == 0 {
		y.failFor(o) // when it hurts most
	}
	if y.noGate {
		y.switchBlindly()
		return
	}
	err := y.rotate(apply.RotateOptions{})
	if refusal(err, plan.GateClosed) != "" {
		y.closed++
		err = y.rotate(apply.RotateOptions{WhenOpen: true})
	}
	if err != nil {
		y.t.Fatal(err)
	}
}

func (y *years) rotate(o apply.RotateOptions) error {
	return y.process().Rotate(y.t.Context(), y.cert, o)
}

// process is the running process, which is restarted now and then: a new one each
// day would mostly connect to the CA. What it logs would be too much.
func (y *years) process() *apply.Runner {
	if y.runner == nil || y.rng.IntN(20) == 0 {
		y.stop()
		y.runner = &apply.Runner{
			Store: y.store, Now: y.now, UserAgent: "keepkey/test",
			RequestTimeout: y.requestTimeout, Log: slog.New(slog.DiscardHandler),
		}
	}
	return y.runner
}

func (y *years) stop() {
	if y.runner != nil {
		y.runner.Close()
	}
}

// switchBlindly does what clients do that make a new key for each certificate
// (dehydrated, unless it is told otherwise): its pin is in nobody's pin set. There
// is no way to have keepkey do that, so it is written into the state by hand.
func (y *years) switchBlindly() {
	y.t.Helper()
	l, err := y.store.Lineage(y.cert.Name)
	if err != nil {
		y.t.Fatal(err)
	}
	records, err := l.Records.Load()
	if err != nil {
		y.t.Fatal(err)
	}
	s, err := plan.ParseState(y.cert.Name, records.State)
	if err != nil {
		y.t.Fatal(err)
	}
	fresh, err := l.Keys.Create(y.cert.KeyType)
	if err != nil {
		y.t.Fatal(err)
	}
	for i := range s.Keys {
		if s.Keys[i].Role == plan.Active {
			s.Keys[i].Role = plan.Retired
		}
	}
	s.Keys = append(s.Keys, plan.Key{Pin: fresh, Type: y.cert.KeyType, Role: plan.Active, Created: y.now()})
	s.Certificate.Pin, s.Certificate.Digest = fresh, "" // the one on disk does not fit this, so another is obtained
	data, err := s.Marshal("keepkey/test")
	if err != nil {
		y.t.Fatal(err)
	}
	if _, err := l.Records.Swap(records, data, nil); err != nil {
		y.t.Fatal(err)
	}
	y.blind++
}

// run is keepkey's daily run, and the server's reload when the deploy hook says so.
func (y *years) run() {
	y.t.Helper()
	rep := y.process().Renew(y.t.Context(), y.cert, apply.Options{})
	for _, p := range rep.Problems {
		if (p.Code != plan.PublicationFailing && p.Code != plan.PublicationGone) || !slices.ContainsFunc(y.outlets, func(o *outlet) bool { return o.failing && p.Channel == o.name }) {
			y.t.Fatalf("%s: %s", y.now(), texts(y.cert.Name, []plan.Finding{p}))
		}
		y.failed++
	}
	y.rollover = rep.Input.State.Rollover
	if rep.Did(plan.Obtain) || rep.Did(plan.SwitchKey) {
		y.renewals++
	}
	if rep.Did(plan.RetirePin) {
		y.rollovers++
	}
	if os.Remove(y.reload) == nil {
		l, err := y.store.Lineage(y.cert.Name)
		if err != nil {
			y.t.Fatal(err)
		}
		y.server.load(y.t, l.Live.Dir())
	}
	for _, o := range y.outlets {
		if o.release(y.t, y.now()) {
			y.turns = append(y.turns, y.now().Add(o.lifetime))
		}
	}
}

// visit lets a client download the pin set, if it has to or likes to, and connect.
func (y *years) visit(c *pinningClient) {
	y.t.Helper()
	if c.mustDownload(y.now()) || y.rng.Float64() < c.often {
		c.held = c.outlet.download(y.t)
	}
	y.handshakes++
	switch err := c.connect(y.t.Context(), y.server.addr); {
	case errors.Is(err, errPin):
		y.refused++
		if !y.noGate {
			y.t.Errorf("%s: a client of channel %s that holds version %d is locked out", y.now(), c.outlet.name, c.held.Version)
		}
	case err != nil:
		y.t.Fatalf("%s: %v", y.now(), err) // not a matter of pins
	}
}

// outlet is a channel as the world outside keepkey sees it: a web server's file,
// which keepkey reaches through a mount, and a cache in front of it.
type outlet struct {
	name     string
	lifetime time.Duration
	mount    string // leads to the file's directory
	file     string
	cache    string // the hook that purges the cache works while this is there

	failing bool
	until   time.Time

	released []release
}

// release is a pin set that all clients could have downloaded from then on.
type release struct {
	version int
	at      time.Time
}

func newOutlet(t testing.TB, dir, name string, lifetime time.Duration) *outlet {
	t.Helper()
	o := &outlet{
		name: name, lifetime: lifetime,
		mount: filepath.Join(dir, name+".mnt"), file: filepath.Join(dir, name, "pins.json"), cache: filepath.Join(dir, name+".cache"),
	}
	if err := os.Mkdir(filepath.Dir(o.file), 0o700); err != nil {
		t.Fatal(err)
	}
	o.mend(t)
	return o
}

func (o *outlet) channel() config.Channel {
	return config.Channel{
		Name: o.name, Format: format.JSON, Lifetime: pinset.Lifetime{Duration: o.lifetime},
		Publish: []hooks.Hook{hooks.File{Path: filepath.Join(o.mount, "pins.json")}, hooks.Command{Args: []string{"test", "-e", o.cache}}},
	}
}

// fail lets publishing fail: either nothing gets out, or the pin set does, but not
// for those who are behind the cache.
func (o *outlet) fail(t testing.TB, half bool) {
	t.Helper()
	o.failing = true
	broken := o.mount
	if half {
		broken = o.cache
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
}

func (o *outlet) mend(t testing.TB) {
	t.Helper()
	o.failing = false
	if err := os.Symlink(filepath.Dir(o.file), o.mount); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.cache, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (o *outlet) download(t testing.TB) pinset.Set {
	t.Helper()
	data, err := os.ReadFile(o.file)
	if err != nil {
		t.Fatal(err)
	}
	found, err := format.JSON.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return pinset.Set{Version: found.Version, Pins: found.Pins}
}

// release looks whether a newer pin set is out, for everybody. It does not take
// keepkey's word for it.
func (o *outlet) release(t testing.TB, now time.Time) bool {
	t.Helper()
	if o.failing {
		return false
	}
	version := o.download(t).Version
	if n := len(o.released); n > 0 && o.released[n-1].version >= version {
		return false
	}
	o.released = append(o.released, release{version, now})
	return true
}

// pinningClient connects to the server, and accepts no key but those in its pin set.
type pinningClient struct {
	outlet *outlet
	often  float64
	held   pinset.Set
	tls    *tls.Config
}

// errPin is what locks a client out.
var errPin = errors.New("the server's key is not in the pin set")

func (c *pinningClient) config(root *x509.Certificate, now func() time.Time) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: "api.example.com", RootCAs: roots, Time: now,
		CurvePreferences: []tls.CurveID{tls.X25519}, // the cheapest
		VerifyConnection: func(s tls.ConnectionState) error {
			if !slices.Contains(c.held.Pins, pinset.OfCertificate(s.PeerCertificates[0])) {
				return errPin
			}
			return nil
		},
	}
}

// mustDownload says whether the client may not go on with the pin set it holds: a
// newer one has been out for longer than the channel's lifetime.
func (c *pinningClient) mustDownload(now time.Time) bool {
	for _, r := range c.outlet.released {
		if r.version > c.held.Version {
			return c.held.Version == 0 || now.After(r.at.Add(c.outlet.lifetime))
		}
	}
	return false
}

func (c *pinningClient) connect(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Or each of the thousands of connections would keep its port for a minute.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	return tls.Client(conn, c.tls).HandshakeContext(ctx)
}

// tlsServer serves what it loaded last, whatever is live meanwhile.
type tlsServer struct {
	addr string
	cert atomic.Pointer[tls.Certificate]
}

func startTLSServer(t testing.TB) *tlsServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &tlsServer{addr: l.Addr().String()}
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := s.cert.Load(); c != nil {
				return c, nil
			}
			return nil, errors.New("nothing was deployed yet")
		},
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				_ = tls.Server(conn, cfg).Handshake() // how it went is the client's to say
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return s
}

// load is what a reload does.
func (s *tlsServer) load(t testing.TB, dir string) {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s.cert.Store(&cert)
}
