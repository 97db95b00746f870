package keystore

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"keepkey/internal/durable"
	"keepkey/pinset"
)

// Live is what this host serves: stored certificate versions, each with its key, and
// which of them is current.
type Live struct{ *place }

// Version is a stored certificate with its key, and its chain.
type Version struct {
	N int // from 1
	// Digest is a SHA-256 hash in hex over all that servers read of it: each file's
	// name, length and content. Keep it when the version is stored, and [Live.Verify] can
	// tell at any time whether the version is still what it was.
	Digest string
}

// The files of a version, in the order in which they are hashed. The first four are
// certbot's, the last is what HAProxy reads.
const (
	certFile = iota
	chainFile
	fullchainFile
	privkeyFile
	combinedFile
)

var versionFiles = [...]string{"cert.pem", "chain.pem", "fullchain.pem", "privkey.pem", "combined.pem"}

// Dir returns the path at which servers find the current certificate.
func (v *Live) Dir() string { return v.dir + "/live" }

// HookDir returns a directory for what hooks need while they run on this host, and makes
// it when it is missing.
func (v *Live) HookDir() (string, error) {
	return v.HookPath(), v.ensure("hooks", private)
}

// HookPath is the path of that directory, whether or not it is there.
func (v *Live) HookPath() string { return v.dir + "/hooks" }

// ServeDir returns a directory for the documents that this host's daemon serves, one for each
// channel, and makes it when it is missing.
func (v *Live) ServeDir() (string, error) {
	return v.ServePath(), v.ensure("pins", private)
}

// ServePath is the path of that directory, whether or not it is there.
func (v *Live) ServePath() string { return v.dir + "/pins" }

// Served returns the document of a channel in that directory, and when it was put there.
func (v *Live) Served(channel string) (document []byte, since time.Time, err error) {
	path := v.ServePath() + "/" + channel
	info, err := os.Lstat(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	document, _, err = readFile(path, maxFile)
	return document, info.ModTime(), err
}

// Add stores a certificate that passed [CheckChain] together with its key, after proving
// that they belong together, and returns the new version. Its number is greater than
// after and than all that are stored; with the newest number on record as after, no
// number is used twice. Servers see the version only after [Live.Switch].
//
//	getdents(certs)
//	durable.CreateDir(certs/<n>)
func (v *Live) Add(after int, chain Chain, key crypto.Signer) (Version, error) {
	keyPEM, err := MarshalKey(key)
	if err != nil {
		return Version{}, err
	}
	if len(chain) == 0 {
		return Version{}, fmt.Errorf("storing a certificate of %s: there is none", v.name)
	}
	content := contentOf(chain, keyPEM)
	if err := prove(content); err != nil {
		return Version{}, fmt.Errorf("storing a certificate of %s: %w; nothing was stored", v.name, err)
	}
	if err := v.ensure("certs", v.store.wayToLive()); err != nil {
		return Version{}, err
	}
	ns, err := v.Versions()
	if err != nil {
		return Version{}, err
	}
	n := max(after, slices.Max(append(ns, 0))) + 1
	if n < 1 || n > maxVersion {
		return Version{}, fmt.Errorf("storing a certificate of %s: there is no number after %d", v.name, n-1)
	}
	var files []durable.File
	for i, name := range versionFiles {
		files = append(files, durable.File{Name: name, Data: content[i], Access: v.store.access(i)})
	}
	if err := v.store.wrote(durable.CreateDir(v.versionDir(n), v.store.wayToLive(), files)); err != nil {
		return Version{}, fmt.Errorf("storing certificate version %d of %s: %w", n, v.name, err)
	}
	return Version{N: n, Digest: content.digest()}, nil
}

// Verify proves that a stored version is still what was stored: the same certificate,
// chain and key in every file that a server may read. It compares digests; no key is
// parsed and no signature checked. (All five files are read. Leaving out the three that
// follow from the other two would save half of some 15 microseconds, and would not notice
// that HAProxy serves another key.) The error says what differs.
func (v *Live) Verify(want Version) error {
	content, err := v.read(want.N)
	if err != nil {
		return v.problem(want.N, err)
	}
	if content.digest() == want.Digest {
		return nil
	}
	err = prove(content)
	if err == nil {
		err = errors.New("its files belong together, but they are not those that were stored")
	}
	return v.problem(want.N, fmt.Errorf("changed after it was stored: %w", err))
}

// Inspect proves from the files alone that a stored version is complete, that its
// certificate and key belong together, and that it is what was wanted. It is for callers
// that do not have the digest, and takes twenty times as long as [Live.Verify].
func (v *Live) Inspect(n int, want Want) (Version, error) {
	content, err := v.read(n)
	if err != nil {
		return Version{}, v.problem(n, err)
	}
	if err := prove(content); err != nil {
		return Version{}, v.problem(n, err)
	}
	if _, err := CheckChain(content[fullchainFile], want); err != nil {
		return Version{}, v.problem(n, err)
	}
	return Version{N: n, Digest: content.digest()}, nil
}

// Chain reads the certificate and its issuers of a stored version. They are parsed and
// not judged.
func (v *Live) Chain(n int) (Chain, error) {
	data, _, err := readFile(v.versionDir(n)+"/fullchain.pem", maxFile)
	if err != nil {
		return nil, v.problem(n, err)
	}
	chain, err := parseChain(data)
	if err != nil {
		return nil, v.problem(n, fmt.Errorf("fullchain.pem: %w", err))
	}
	return chain, nil
}

// Current returns the number of the version that servers read, or 0 when there
// is no live link. A link that points anywhere else is an error.
func (v *Live) Current() (int, error) {
	target, err := os.Readlink(v.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s is not the symbolic link that keepkey made: %w", v.Dir(), err)
	}
	name, ok := strings.CutPrefix(target, "certs/")
	n := versionNumber(name)
	if !ok || n == 0 {
		return 0, fmt.Errorf("%s points to %q, which is not a certificate version", v.Dir(), target)
	}
	return n, nil
}

// Switch makes a stored version the current one, certificate and key in one step.
//
//	stat(certs/<n>/privkey.pem)
//	durable.Symlink(live)
func (v *Live) Switch(n int) error {
	if v.store.lock == nil {
		return errReadOnly
	}
	// A version is complete or not there at all: one file stands for all.
	if _, err := os.Stat(v.versionDir(n) + "/" + versionFiles[privkeyFile]); err != nil {
		return v.problem(n, fmt.Errorf("it is not complete: %w", err))
	}
	if err := v.store.wrote(durable.Symlink(v.Dir(), "certs/"+strconv.Itoa(n))); err != nil {
		return fmt.Errorf("switching %s to certificate version %d: %w", v.name, n, err)
	}
	return nil
}

// Versions returns the numbers of all stored versions, sorted.
func (v *Live) Versions() ([]int, error) {
	entries, err := os.ReadDir(v.dir + "/certs")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("certificate versions of %s: %w", v.name, err)
	}
	var ns []int
	for _, e := range entries {
		if n := versionNumber(e.Name()); n != 0 {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns)
	return ns, nil
}

// Prune removes a stored version, all of it or nothing. It refuses to remove the current
// one, and to remove any while it is unclear which one is current.
//
//	readlink(live)
//	durable.RemoveDir(certs/<n>)
func (v *Live) Prune(n int) error {
	if v.store.lock == nil {
		return errReadOnly
	}
	current, err := v.Current()
	if err != nil {
		return fmt.Errorf("removing certificate version %d of %s: %w; nothing was removed", n, v.name, err)
	}
	if n == current {
		return fmt.Errorf("certificate version %d of %s is the current one; it was not removed", n, v.name)
	}
	if err := v.store.wrote(durable.RemoveDir(v.versionDir(n))); err != nil {
		return fmt.Errorf("removing certificate version %d of %s: %w", n, v.name, err)
	}
	return nil
}

// problem says which version an error is about.
func (v *Live) problem(n int, err error) error {
	return fmt.Errorf("certificate version %d of %s: %w", n, v.name, err)
}

func (v *Live) versionDir(n int) string { return v.dir + "/certs/" + strconv.Itoa(n) }

const maxVersion = 999_999_999

// versionNumber reads the name of a version's directory; 0 for any other name.
func versionNumber(name string) int {
	n, err := strconv.Atoi(name)
	if err != nil || n < 1 || n > maxVersion || strconv.Itoa(n) != name {
		return 0
	}
	return n
}

// files is the content of a version's files.
type files [len(versionFiles)][]byte

// contentOf makes all files of a version from its chain and its key.
func contentOf(chain Chain, keyPEM []byte) files {
	full := chain.PEM()
	return files{
		certFile: chain[:1].PEM(), chainFile: chain[1:].PEM(), fullchainFile: full,
		privkeyFile: keyPEM, combinedFile: slices.Concat(keyPEM, full),
	}
}

// read reads the files of a version.
func (v *Live) read(n int) (content files, err error) {
	dir := v.versionDir(n) + "/"
	for i, name := range versionFiles {
		if content[i], _, err = readFile(dir+name, maxFile); err != nil {
			return files{}, err
		}
	}
	return content, nil
}

// digest hashes each file after its name and length, so that no byte can move from one
// file to another unnoticed.
func (f files) digest() string {
	h := sha256.New()
	var header [32]byte
	for i, name := range versionFiles {
		b := append(header[:0], name...)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(len(f[i])), 10)
		h.Write(append(b, '\n'))
		h.Write(f[i])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// prove says whether the files of a version belong together: the key is the
// certificate's, each certificate is signed by the next, and the other files are made
// of these.
func prove(f files) error {
	for i, data := range f {
		if len(data) > maxFile {
			return fmt.Errorf("%s is %d bytes long, more than the %d that can be read back", versionFiles[i], len(data), maxFile)
		}
	}
	chain, err := parseChain(f[fullchainFile])
	if err == nil {
		err = checkLinks(chain)
	}
	if err != nil {
		return fmt.Errorf("fullchain.pem: %w", err)
	}
	key, err := ParseKey(f[privkeyFile])
	if err != nil {
		return fmt.Errorf("privkey.pem: %w", err)
	}
	pin, err := pinset.Of(key.Public())
	if err != nil {
		return fmt.Errorf("privkey.pem: %w", err)
	}
	if want := pinset.OfCertificate(chain.Leaf()); pin != want {
		return fmt.Errorf("privkey.pem holds another key (pin %s) than the certificate's (pin %s)", pin, want)
	}
	keyPEM, err := MarshalKey(key)
	if err != nil {
		return fmt.Errorf("privkey.pem: %w", err)
	}
	for i, want := range contentOf(chain, keyPEM) {
		if !bytes.Equal(f[i], want) {
			return fmt.Errorf("%s is not made of the chain and the key", versionFiles[i])
		}
	}
	return nil
}
