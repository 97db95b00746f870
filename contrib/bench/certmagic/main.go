// Certmagic is keepkey's counterpart in the benchmarks: CertMagic, which Caddy
// uses, loading certificates from its file storage and checking each, as it does
// at a start.
//
//	certmagic store  STORAGE CA NAMES LINEAGES
//	certmagic load   STORAGE CA NAMES PARALLEL
//	certmagic manage STORAGE CA NAMES PARALLEL
//
// store puts the certificates and keys that keepkey serves under LINEAGES into
// CertMagic's storage. load has CertMagic manage them: PARALLEL names at a time, or
// all by one call of ManageSync when it is 1. manage does the same, and keeps running
// until it is told to end. NAMES is a file with a name on each line, CA the URL of an
// ACME directory. Should anything be due, CertMagic asks the CA; the benchmark watches
// that nobody does.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "certmagic:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 5 {
		return errors.New("want store, load or manage, and four arguments")
	}
	storage, ca, last := &certmagic.FileStorage{Path: args[1]}, args[2], args[4]
	list, err := os.ReadFile(args[3])
	if err != nil {
		return err
	}
	names := strings.Fields(string(list))
	switch args[0] {
	case "store":
		issuer := certmagic.NewACMEIssuer(certmagic.NewDefault(), certmagic.ACMEIssuer{CA: ca})
		for _, name := range names {
			if err := store(ctx, storage, issuer, last, name); err != nil {
				return err
			}
		}
		return nil
	case "load", "manage":
		parallel, err := strconv.Atoi(last)
		if err != nil {
			return err
		}
		then := func() {}
		if args[0] == "manage" {
			then = func() { <-ctx.Done() }
		}
		return load(ctx, storage, ca, names, parallel, then)
	}
	return fmt.Errorf("there is no %q", args[0])
}

// load calls then when all were loaded and none was due.
func load(ctx context.Context, storage certmagic.Storage, ca string, names []string, parallel int, then func()) error {
	var cfg *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return cfg, nil },
		Logger:           zap.NewNop(),
	})
	defer cache.Stop()
	cfg = certmagic.New(cache, certmagic.Config{Storage: storage, Logger: zap.NewNop()})
	cfg.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(cfg, certmagic.ACMEIssuer{CA: ca, Agreed: true, Logger: zap.NewNop()})}
	if err := manage(ctx, cfg, names, parallel); err != nil {
		return err
	}
	then()
	return nil
}

func manage(ctx context.Context, cfg *certmagic.Config, names []string, parallel int) error {
	if parallel == 1 {
		return cfg.ManageSync(ctx, names)
	}
	queue := make(chan string)
	errs := make([]error, parallel)
	var wg sync.WaitGroup
	for i := range parallel {
		wg.Go(func() {
			for name := range queue {
				errs[i] = errors.Join(errs[i], cfg.ManageSync(ctx, []string{name}))
			}
		})
	}
	for _, name := range names {
		queue <- name
	}
	close(queue)
	wg.Wait()
	return errors.Join(errs...)
}

// store writes what CertMagic would have written after it obtained a certificate
// and asked for its renewal window.
func store(ctx context.Context, storage certmagic.Storage, issuer *certmagic.ACMEIssuer, lineages, name string) error {
	served := filepath.Join(lineages, name, "live")
	chain, err := os.ReadFile(filepath.Join(served, "fullchain.pem"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(served, "privkey.pem"))
	if err != nil {
		return err
	}
	// Late enough for the storage to be used again on another day.
	start, askAgain := time.Now().Add(50*24*time.Hour).UTC(), time.Now().Add(40*24*time.Hour).UTC()
	window := &acme.RenewalInfo{RetryAfter: &askAgain, SelectedTime: start.Add(time.Hour)}
	window.SuggestedWindow.Start, window.SuggestedWindow.End = start, start.Add(48*time.Hour)
	issued, err := json.Marshal(acme.Certificate{
		URL: issuer.CA + "/certificate/" + name, CA: issuer.CA, Account: issuer.CA + "/account/1", RenewalInfo: window,
	})
	if err != nil {
		return err
	}
	meta, err := json.MarshalIndent(certmagic.CertificateResource{SANs: []string{name}, IssuerData: issued}, "", "\t")
	if err != nil {
		return err
	}
	at := issuer.IssuerKey()
	return errors.Join(
		storage.Store(ctx, certmagic.StorageKeys.SiteCert(at, name), chain),
		storage.Store(ctx, certmagic.StorageKeys.SitePrivateKey(at, name), key),
		storage.Store(ctx, certmagic.StorageKeys.SiteMeta(at, name), meta),
	)
}
