package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"keepkey/internal/acmetest"
)

// Every place in which keepkey meets a file or a directory, with everything in it that
// another program or another user may have put there.

// object is something in the place of what belongs there.
type object struct {
	name string
	// put makes it. What is good is at the path before, if anything is there yet.
	put func(c *cell) error
}

// Users that nobody is. The tests need to be root to have them.
const (
	service = 65532 // keepkey's
	other   = 65533 // somebody else
)

var objects = []object{
	{"pipe", func(c *cell) error { return c.instead(func(path string) error { return syscall.Mkfifo(path, 0o600) }) }},
	{"device", func(c *cell) error {
		return c.instead(func(path string) error {
			if syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|5) == nil { // /dev/zero
				return nil
			}
			return os.Symlink("/dev/zero", path)
		})
	}},
	{"socket", func(c *cell) error {
		return c.instead(func(path string) error {
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer syscall.Close(fd)
			// A socket's path has to be short.
			at := fmt.Sprintf("/dev/shm/s%d-%d", os.Getpid(), fd)
			return errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: at}), os.Rename(at, path))
		})
	}},
	{"link to nothing", func(c *cell) error {
		return c.instead(func(path string) error { return os.Symlink(c.outside("nothing"), path) })
	}},
	{"link to itself", func(c *cell) error {
		return c.instead(func(path string) error { return os.Symlink(filepath.Base(path), path) })
	}},
	{"link to another's", func(c *cell) error {
		return errors.Join(c.move(c.outside("victim")), chown(c.outside("victim"), other), c.link(c.outside("victim"), c.uid))
	}},
	{"another's link", func(c *cell) error {
		return errors.Join(c.move(c.outside("ours")), c.link(c.outside("ours"), other))
	}},
	{"hard link", func(c *cell) error { return os.Link(c.path, c.outside("second")) }},
	{"directory", func(c *cell) error { return c.instead(func(path string) error { return os.Mkdir(path, 0o700) }) }},
	{"file", func(c *cell) error {
		return c.instead(func(path string) error { return os.WriteFile(path, []byte("a file\n"), 0o600) })
	}},
	{"another's", func(c *cell) error { return os.Lchown(c.path, other, other) }},
	{"for all to write", func(c *cell) error {
		info, err := os.Stat(c.path)
		if err != nil {
			return err
		}
		return os.Chmod(c.path, info.Mode().Perm()|0o022)
	}},
	{"for all to read", func(c *cell) error {
		info, err := os.Stat(c.path)
		if err != nil {
			return err
		}
		return os.Chmod(c.path, info.Mode().Perm()|0o044)
	}},
	{"empty", func(c *cell) error { return os.Truncate(c.path, 0) }},
	{"huge", func(c *cell) error { return os.Truncate(c.path, 1<<40) }},
	{"missing", func(c *cell) error { return c.instead(func(string) error { return nil }) }},
}

// place is where an object is met.
type place struct {
	name string
	path string // below the cell's directory; %s stands for what is not known before
	dir  bool   // a directory belongs there
	// stored is in the state directory: a certificate was obtained before.
	stored bool
	// late is put there while keepkey runs, at a moment of which the cell is told.
	late bool
	dns  bool // the challenge is DNS-01
	// again is met when it is written for the second time.
	again bool
	// waits is where keepkey has patience: what is published need not be there at once.
	waits bool

	// What comes of it. All objects are refused but these, separated by commas.
	configured bool   // when the configuration is read, so that nothing is begun
	later      string // ... but for these, which are noticed when they are needed
	takes      string // these do no harm, or give way to what belongs there; "all but" others
	root       string // so do these where keepkey is root, and may do what it likes
	through    string // what a person linked to is written to, whoever has it
}

// wants returns what is to come of an object.
func (p place) wants(o object, root bool) string {
	among := func(list string) bool { return slices.Contains(strings.Split(list, ", "), o.name) }
	others, most := strings.CutPrefix(p.takes, "all")
	switch {
	case root && among(p.root) && strings.HasPrefix(o.name, "link"), among(p.through):
		return "works, theirs is changed"
	case most && !among(strings.TrimPrefix(others, " but ")), among(p.takes), root && among(p.root):
		return "works"
	case p.configured && !among(p.later):
		return "misconfigured"
	}
	return "refused"
}

var placesOfPaths = []place{
	{name: "configuration", path: "config.yaml", configured: true, takes: "another's link, hard link, for all to read"},
	{name: "ca_bundle", path: "ca.pem", configured: true, takes: "another's link, hard link, for all to read", later: "empty"},
	{name: "hmac_file", path: "hmac", configured: true, takes: "another's link, hard link", later: "empty"},
	{name: "secret_file", path: "secret", configured: true, takes: "another's link, hard link", later: "empty"},
	{name: "env_file", path: "env", dns: true, configured: true, takes: "another's link, hard link", later: "empty"},
	{name: "hook", path: "hook", takes: "another's link, hard link, for all to read, huge"},
	{name: "published file", path: "web/pins.json", again: true, takes: "another's, for all to write, for all to read, empty, huge, missing", through: "link to another's"},
	{name: "its directory", path: "web", dir: true, again: true, takes: "for all to write, for all to read", root: "another's, link to another's", through: "another's link"},
	{name: "read_back", path: "mirror.json", late: true, waits: true, takes: "link to another's, another's link, hard link, another's, for all to write, for all to read"},
	{name: "webroot", path: "root", dir: true, configured: true, takes: "for all to write, for all to read", later: "another's, link to another's", root: "another's, link to another's", through: "another's link"},
	{name: ".well-known", path: "root/.well-known", dir: true, takes: "for all to write, for all to read, missing", root: "another's"},
	{name: "acme-challenge", path: "root/.well-known/acme-challenge", dir: true, takes: "for all to write, for all to read, missing", root: "another's"},
	{name: "token", path: "root/.well-known/acme-challenge/%s", late: true, takes: "all"},
	{name: "state", path: "state", dir: true, stored: true, takes: "for all to read"},
	{name: "lock", path: "state/lock", stored: true, takes: "hard link, for all to write, for all to read, empty, huge, missing"},
	{name: "host", path: "state/host", stored: true, takes: "hard link, for all to read, missing"},
	{name: "accounts", path: "state/accounts", dir: true, stored: true, takes: "for all to write, for all to read"},
	{name: "account key", path: "state/accounts/*/*/key.pem", stored: true, takes: "hard link"},
	{name: "account", path: "state/accounts/*/*/account.json", stored: true, takes: "all but directory"},
	{name: "lineages", path: "state/lineages", dir: true, stored: true, takes: "for all to write, for all to read, missing"},
	{name: "lineage", path: "state/lineages/api", dir: true, stored: true, takes: "for all to write, for all to read, missing"},
	{name: "keys", path: "state/lineages/api/keys", dir: true, stored: true, takes: "another's link, for all to write, for all to read", root: "another's"},
	{name: "key", path: "state/lineages/api/keys/*.pem", stored: true, takes: "hard link"},
	{name: "state.json", path: "state/lineages/api/state.json", stored: true, takes: "hard link, for all to read"},
	{name: "ledger", path: "state/lineages/api/ledger.jsonl", stored: true, takes: "hard link, for all to read"},
	{name: "journal", path: "state/lineages/api/journal.jsonl", stored: true, takes: "all", through: "hard link"},
	{name: "told", path: "state/told", dir: true, stored: true, takes: "all"},
	{name: "record of what was told", path: "state/told/api.json", stored: true, takes: "all"},
	{name: "live", path: "state/lineages/api/live", stored: true, takes: "hard link, another's, for all to write, for all to read, empty, huge, missing"},
	{name: "certs", path: "state/lineages/api/certs", dir: true, stored: true, takes: "for all to write, for all to read, missing"},
	{name: "version", path: "state/lineages/api/certs/1", dir: true, stored: true, takes: "all"},
	{name: "served key", path: "state/lineages/api/certs/1/privkey.pem", stored: true, takes: "all"},
}

// cell is one object in one place.
type cell struct {
	*host
	t      *testing.T
	place  place
	object object
	path   string // where the object is
	uid    int    // who keepkey is
	umask  string
	domain string
	once   sync.Once
	putErr error
	made   string // where what others have is
}

// outside is a path that is not keepkey's.
func (c *cell) outside(name string) string { return filepath.Join(c.dir, "others", name) }

// instead makes something in the place of what is there.
func (c *cell) instead(put func(path string) error) error {
	if err := os.RemoveAll(c.path); err != nil {
		return err
	}
	if err := put(c.path); err != nil {
		return err
	}
	if _, err := os.Lstat(c.path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return os.Lchown(c.path, c.uid, c.uid)
}

func (c *cell) move(to string) error { return os.Rename(c.path, to) }

func (c *cell) link(to string, owner int) error {
	return errors.Join(os.Symlink(to, c.path), os.Lchown(c.path, owner, owner))
}

// chown gives a file, or a directory with all in it, to a user.
func chown(path string, uid int) error {
	return filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, uid))
	})
}

// put puts the object in its place, whatever is there.
func (c *cell) put() {
	c.once.Do(func() {
		if _, err := os.Lstat(c.path); errors.Is(err, fs.ErrNotExist) {
			// Something that could be good.
			if c.place.dir {
				err = os.MkdirAll(c.path, 0o755)
			} else {
				err = os.WriteFile(c.path, []byte("what was there before\n"), 0o600)
			}
			if err := errors.Join(err, chown(filepath.Join(c.dir, "root"), c.uid), os.Lchown(c.path, c.uid, c.uid)); err != nil {
				c.putErr = err
				return
			}
		}
		c.putErr = c.object.put(c)
		c.made = c.seen()
	})
}

// seen describes what belongs to others.
func (c *cell) seen() string {
	var b strings.Builder
	filepath.WalkDir(filepath.Join(c.dir, "others"), func(path string, d fs.DirEntry, _ error) error {
		info, err := os.Lstat(path)
		if err != nil {
			return nil
		}
		owner := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %s %d %d", path, info.Mode(), owner.Uid, owner.Gid)
		if d.Type().IsRegular() && info.Size() < 1<<20 {
			data, _ := os.ReadFile(path)
			fmt.Fprintf(&b, " %q", data)
		}
		b.WriteString("\n")
		return nil
	})
	return b.String()
}

// surroundings are what all cells share: a CA, a web server for their webroots, a receiver
// of webhooks and a DNS server's front.
type surroundings struct {
	ca    *acmetest.Server
	hooks *httptest.Server
	mu    sync.Mutex
	cells map[string]*cell // by domain
}

func (s *surroundings) cell(domain string) *cell {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cells[domain]
}

func newSurroundings(t *testing.T) *surroundings {
	t.Helper()
	ca, err := acmetest.Start(acmetest.Options{EAB: map[string]string{"kid": hmacKey}, AuthzReuse: 100})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ca.Close)
	s := &surroundings{ca: ca, cells: make(map[string]*cell)}
	ln, err := net.Listen("tcp", ca.HTTPAddr)
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(s.web)}
	go web.Serve(ln)
	t.Cleanup(func() { web.Close() })
	s.hooks = httptest.NewServer(http.HandlerFunc(s.hook))
	t.Cleanup(s.hooks.Close)
	ca.Misbehave(acmetest.ChangeJSON(acmetest.Authorization, func(doc map[string]any) {
		id, _ := doc["identifier"].(map[string]any)
		c := s.cell(fmt.Sprint(id["value"]))
		list, _ := doc["challenges"].([]any)
		for _, ch := range list {
			if ch, ok := ch.(map[string]any); ok && c != nil && c.place.name == "token" && ch["type"] == "http-01" && doc["status"] == "pending" {
				c.path = fmt.Sprintf(c.path, ch["token"])
				c.put()
			}
		}
	}))
	return s
}

// web serves the webroots.
func (s *surroundings) web(w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(r.Host, ":")
	c := s.cell(name)
	if c == nil {
		http.NotFound(w, r)
		return
	}
	f, err := os.OpenFile(filepath.Join(c.dir, "root", filepath.Clean(r.URL.Path)), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o004 == 0 {
		http.NotFound(w, r) // what not everybody can read, a web server can't
		return
	}
	io.Copy(w, f)
}

// hook takes pin sets to where they are read back, and answers challenges by DNS.
func (s *surroundings) hook(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var record struct{ FQDN, Value string }
	switch _, name, _ := strings.Cut(r.URL.Path[1:], "/"); {
	case strings.HasPrefix(r.URL.Path, "/dns") && json.Unmarshal(body, &record) == nil:
		if name == "present" {
			s.ca.DNS.SetTXT(record.FQDN, record.Value)
		} else {
			s.ca.DNS.RemoveTXT(record.FQDN, record.Value)
		}
	case r.Header.Get("Keepkey-Event") == "publish":
		c := s.cell(name)
		mirror := filepath.Join(c.dir, "mirror.json")
		if os.WriteFile(mirror, body, 0o644) == nil && c.place.name == "read_back" {
			os.Chown(mirror, c.uid, c.uid)
			c.put()
		}
	}
}

const cellConfig = `state: state
acme: {directory: "$DIRECTORY", ca_bundle: ca.pem, accept_terms: true, eab: {kid: kid, hmac_file: hmac}}
certificates:
  - name: api
    domains: [$DOMAIN]
    challenge: {$CHALLENGE}
    channels:
      - name: app
        format: json
        lifetime: 30d
        publish: [$FILE{webhook: {url: "$HOOKS/hook/$DOMAIN", secret_file: secret}}]$READ
    deploy: [{command: [./hook]}]
notify: [{command: ["true"]}]
`

// furnish puts all in a directory that keepkey needs.
func (s *surroundings) furnish(c *cell) error {
	challenge := "http-01: {webroot: root}"
	if c.place.dns {
		challenge = "dns-01: {provider: httpreq, env_file: env, propagation: 0s}"
	}
	file, read := "{file: web/pins.json}, ", "\n        read_back: {file: mirror.json}"
	if c.place.name == "" { // what is stored would be published to another path in each cell
		file, read = "", ""
	}
	config := strings.NewReplacer("$FILE", file, "$READ", read, "$DIRECTORY", s.ca.Directory, "$DOMAIN", c.domain, "$CHALLENGE", challenge, "$HOOKS", s.hooks.URL).Replace(cellConfig)
	for _, dir := range []string{"web", "root", "others"} {
		if err := os.Mkdir(filepath.Join(c.dir, dir), 0o755); err != nil {
			return err
		}
	}
	for name, data := range map[string]string{
		"config.yaml": config, "ca.pem": string(s.ca.CAPEM), "hmac": hmacKey, "secret": "a-secret-of-a-webhook", "hook": "#!/bin/sh\nexit 0\n",
		"env": "HTTPREQ_ENDPOINT=" + s.hooks.URL + "/dns\nHTTPREQ_PASSWORD=a-password-of-dns\nHTTPREQ_USERNAME=me\n",
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(data), 0o700); err != nil {
			return err
		}
	}
	if c.place.name == "token" { // or the first to come would have to make it
		if err := os.MkdirAll(filepath.Join(c.dir, "root/.well-known/acme-challenge"), 0o755); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.cells[c.domain] = c
	s.mu.Unlock()
	return chown(c.dir, c.uid)
}

// keepkey runs it as the cell's user.
func (c *cell) keepkey(umask string, args ...string) (status int, out string) {
	cmd, b := c.command(args...)
	cmd.Path, cmd.Err = "/proc/self/exe", nil // wherever this lies, it may be run
	cmd.Args[0] = "keepkey"
	cmd.Env = append(os.Environ(), umaskEnv+"="+umask, "HOME="+c.dir, "TMPDIR="+c.dir)
	cmd.Dir = c.dir
	if c.uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.uid)}}
	}
	c.run(cmd, nil)
	return cmd.ProcessState.ExitCode(), b.String()
}

// ordinary is what everybody may read.
func ordinary(path string) bool {
	return strings.Contains(path, "/.well-known") || strings.Contains(path, "/others/") ||
		slices.Contains([]string{"cert.pem", "chain.pem", "fullchain.pem", "pins.json"}, filepath.Base(path))
}

// tree lists what there is with its mode.
func (c *cell) tree() map[string]fs.FileMode {
	all := make(map[string]fs.FileMode)
	filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if info, err2 := os.Lstat(path); err2 == nil {
			all[path] = info.Mode()
		}
		return nil
	})
	return all
}

// TestEveryObjectInEveryPlace lets keepkey meet each of them, as root with a umask of 000
// and as a service's user with one of 077. It ends, with a status that is documented; what it
// refuses it names, with what mends it; nothing is written through a link that it did not
// follow on purpose; and nothing that it makes is for others to read but what is meant to be.
func TestEveryObjectInEveryPlace(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("it is about files, and would take minutes under the race detector")
	}
	if runtime.GOOS != "linux" {
		t.Skip("it is about Linux's files")
	}
	if testing.Short() {
		t.Skip("it starts a thousand processes")
	}
	s := newSurroundings(t)
	users := []struct {
		name, umask string
		uid         int
	}{{"root", "000", 0}, {"service", "077", service}}
	if os.Getuid() != 0 {
		t.Log("only root can be somebody else: this is about this user alone")
		users = users[:1]
		users[0].uid = os.Getuid()
	}
	n := 0
	for _, user := range users {
		base := &cell{host: &host{t: t, dir: fastDir(t), ca: s.ca}, t: t, uid: user.uid, domain: user.name + ".example.com"}
		if err := s.furnish(base); err != nil {
			t.Fatal(err)
		}
		if status, out := base.keepkey(user.umask, "renew"); status != 0 {
			t.Fatalf("%s: exit status %d\n%s", user.name, status, out)
		}
		told := filepath.Join(base.dir, "state/told") // of something that is over
		if err := errors.Join(os.Mkdir(told, 0o700), os.WriteFile(told+"/api.json", []byte("{}\n"), 0o600), chown(told, user.uid)); err != nil {
			t.Fatal(err)
		}
		for _, p := range placesOfPaths {
			var cells []*cell
			for _, o := range objects {
				if o.fits(p) {
					n++
					cells = append(cells, &cell{place: p, object: o, uid: user.uid, umask: user.umask, domain: fmt.Sprintf("c%d.example.com", n)})
				}
			}
			if p.waits {
				if user.uid == 0 && len(users) > 1 {
					continue // once is enough
				}
				t.Run(user.name+"/"+p.name, func(t *testing.T) {
					t.Parallel()
					var wg sync.WaitGroup
					for _, c := range cells {
						wg.Go(func() { s.try(t, c, base) })
					}
					wg.Wait()
				})
				continue
			}
			for _, c := range cells {
				t.Run(user.name+"/"+p.name+"/"+c.object.name, func(t *testing.T) {
					t.Parallel()
					s.try(t, c, base)
				})
			}
		}
	}
}

// fits says whether there is a point in an object in a place.
func (o object) fits(p place) bool {
	if o.name == "missing" && slices.Contains([]string{"state", "accounts", "account key"}, p.name) {
		return false // a new account has to prove the name anew, whose webroot is another one
	}
	if p.name == "live" && (o.name == "empty" || o.name == "huge") {
		return false // it is a link, and has no content
	}
	if p.dir {
		return !slices.Contains([]string{"directory", "hard link", "empty", "huge"}, o.name)
	}
	return o.name != "file"
}

// try lets keepkey meet the object.
func (s *surroundings) try(t *testing.T, c, base *cell) {
	c.host, c.t = &host{t: t, dir: fastDir(t), ca: s.ca}, t
	p := c.place
	if p.stored {
		if err := errors.Join(os.Remove(c.dir), copyTree(c.dir, base.dir), chown(c.dir, c.uid)); err != nil {
			t.Error(err)
			return
		}
		found, err := filepath.Glob(filepath.Join(c.dir, p.path))
		if err != nil || len(found) == 0 {
			t.Errorf("nothing is %s (%v)", p.path, err)
			return
		}
		c.path = found[0]
		if p.name == "key" {
			c.path = filepath.Join(filepath.Dir(c.path), c.activePin("api").Hex()+".pem")
		}
	} else {
		if err := s.furnish(c); err != nil {
			t.Error(err)
			return
		}
		c.path = filepath.Join(c.dir, p.path)
	}
	if p.again {
		if status, out := c.keepkey(c.umask, "renew"); status != 0 {
			t.Errorf("the first run: exit status %d\n%s", status, out)
		}
		c.edit("config.yaml", "challenge: {http-01", ": {webroot: root}}\n    backups: 2")
	}
	if !p.late {
		c.put()
	}
	before := c.tree()
	status, out := c.keepkey(c.umask, "renew", "--force")
	c.put() // if it did not come to that
	if c.putErr != nil {
		t.Error(c.putErr)
	}
	where := fmt.Sprintf("%s as %s of uid %d", c.object.name, p.name, c.uid)
	result := map[int]string{0: "works", 1: "refused", 2: "misconfigured"}[status]
	if result == "" || strings.Contains(out, "bug in keepkey") {
		t.Errorf("%s: exit status %d", where, status)
	}
	if now := c.seen(); now != c.made {
		result += ", theirs is changed"
		t.Logf("%s: what belongs to others was\n%sand is\n%s", where, c.made, now)
	}
	for path, mode := range c.tree() {
		if old, was := before[path]; (was && old == mode) || mode&fs.ModeSymlink != 0 || path == c.path || strings.HasSuffix(path, "/mirror.json") {
			continue
		}
		if mode.Perm()&0o077 != 0 && !ordinary(path) {
			t.Errorf("%s: %s has mode %s", where, path, mode)
		}
	}
	if status != 0 && !strings.Contains(out, filepath.Base(c.path)) {
		result += ", unnamed"
	}
	if status != 0 && (c.object.name == "another's" || strings.HasPrefix(c.object.name, "for all")) && !strings.Contains(out, "chown ") && !strings.Contains(out, "chmod ") && !strings.Contains(out, "permission denied") && !strings.Contains(out, "sudo keepkey ") {
		result += ", without advice"
	}
	if want := p.wants(c.object, c.uid == 0); result != want {
		t.Errorf("%s: %s, want %s\n%s", where, result, want, short(out))
	}
}
