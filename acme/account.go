package acme

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
)

// EAB binds an ACME account to one outside ACME (RFC 8555 section 7.3.4).
type EAB struct {
	KID     string
	HMACKey string // base64url, as CAs hand it out
	File    string // that the key is from, for people
}

// directoryAge is how long a CA's directory is believed. It seldom changes, but a
// client may live for months.
const directoryAge = 24 * time.Hour

// need is what a request needs of the API that makes it.
type need bool

const (
	unsigned  need = false // the directory
	asAccount need = true  // the directory, and an account that signs
)

// turn is the work of whoever makes the API ready; others wait for it, and share its
// outcome: a CA that does not answer costs all of them one time limit.
type turn struct {
	done        chan struct{} // closed at the end; the rest may be read then
	err         error
	interrupted bool // err is of nobody else's concern
}

// ready returns an API with a directory that is fresh, and with an account if needed.
func (c *Client) ready(ctx context.Context, n need) (*api.Core, error) {
	for {
		c.mu.Lock()
		core, ready, t := c.core(), c.isReady(n), c.turn
		lead := !ready && t == nil
		if lead {
			t = &turn{done: make(chan struct{})}
			c.turn = t
		}
		c.mu.Unlock()
		if ready {
			return core, nil
		}
		if lead {
			if err := c.lead(ctx, n, t); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-t.done:
		}
		c.mu.Lock()
		ready = c.isReady(n)
		c.mu.Unlock()
		if !ready && t.err != nil && !t.interrupted {
			return nil, t.err
		}
	}
}

func (c *Client) isReady(n need) bool {
	age := c.cfg.Now().Sub(c.read)
	return age >= 0 && age < directoryAge && (n == unsigned || c.accountURL != "" && !c.emailNew)
}

func (c *Client) lead(ctx context.Context, n need, t *turn) error {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.turn = nil
		close(t.done)
	}()
	t.err = c.prepare(ctx, n)
	t.interrupted = ctx.Err() != nil
	return t.err
}

// prepare reads the directory unless that is fresh, and finds or registers the account
// if one is needed and not known.
func (c *Client) prepare(ctx context.Context, n need) (err error) {
	c.mu.Lock()
	core, fresh, accountURL, keyFresh, emailNew := c.core(), c.isReady(unsigned), c.accountURL, c.keyFresh, c.emailNew
	c.mu.Unlock()
	now := c.cfg.Now()
	if !fresh {
		if core, err = c.signer(ctx, accountURL, c.cfg.AccountKey); err != nil {
			return err
		}
	}
	if n == asAccount && accountURL == "" {
		var email string
		if accountURL, email, err = c.findOrRegister(ctx, core, keyFresh); err != nil {
			return fmt.Errorf("account at %s: %w", c.cfg.Directory, err)
		}
		if err := c.cfg.SaveAccount(accountURL, email); err != nil {
			c.forgetAccount(core)
			return fmt.Errorf("account at %s: %w", c.cfg.Directory, err)
		}
		emailNew = email != c.cfg.Email
	}
	if n == asAccount && emailNew {
		if err := c.tellEmail(ctx, core, accountURL); err != nil {
			// No certificate depends on it. The next client tries again.
			c.cfg.Logger.Warn("the CA does not know the new e-mail address", "ca", c.cfg.Directory, "email", c.cfg.Email, "problem", err)
		}
		emailNew = false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.api.Store(core)
	c.accountURL = accountURL
	if n == asAccount {
		c.emailNew = emailNew
	}
	if !fresh {
		c.read = now
	}
	return nil
}

// findOrRegister returns the URL of the account that has the key, or registers one
// (RFC 8555 sections 7.3 and 7.3.1), and the e-mail address that it was registered with.
// core signs as the account afterwards.
func (c *Client) findOrRegister(ctx context.Context, core *api.Core, keyFresh bool) (account, email string, err error) {
	if !keyFresh {
		account, err := c.newAccount(ctx, core, acme.Account{OnlyReturnExisting: true}, nil)
		var p *Problem
		switch {
		case err == nil:
			c.cfg.Logger.Info("found the ACME account by its key", "ca", c.cfg.Directory)
			return account, "", nil
		case !errors.As(err, &p) || !p.final():
			return "", "", err
		}
	}
	meta := core.GetDirectory().Meta
	if !c.cfg.AcceptTerms {
		return "", "", fmt.Errorf("read the CA's terms of service (%.200q) and set accept_terms: true", meta.TermsOfService)
	}
	if meta.ExternalAccountRequired && c.cfg.EAB == nil {
		return "", "", errors.New("this CA asks for an external account binding: set acme.eab with the kid and hmac_file that it gave you")
	}
	req := acme.Account{TermsOfServiceAgreed: true}
	if c.cfg.Email != "" {
		req.Contact = []string{"mailto:" + c.cfg.Email}
	}
	account, err = c.newAccount(ctx, core, req, c.cfg.EAB)
	var p *Problem
	switch {
	case errors.As(err, &p) && p.final() && c.cfg.EAB != nil && p.advice() == "":
		return "", "", fmt.Errorf("%w; see that kid (%.100q) and the key in %s are those that the CA gave you, and still good", err, c.cfg.EAB.KID, c.cfg.EAB.File)
	case err != nil:
		return "", "", accountRefused(err)
	}
	c.cfg.Logger.Info("registered an ACME account", "ca", c.cfg.Directory)
	return account, c.cfg.Email, nil
}

// tellEmail gives the account the e-mail address of the configuration (RFC 8555 section
// 7.3.2).
func (c *Client) tellEmail(ctx context.Context, core *api.Core, accountURL string) error {
	_, err := call(ctx, c, func() (acme.Account, error) {
		return core.Accounts.Update(accountURL, acme.Account{Contact: []string{"mailto:" + c.cfg.Email}})
	})
	if err != nil {
		return err
	}
	c.cfg.Logger.Info("told the CA the account's e-mail address", "ca", c.cfg.Directory, "email", c.cfg.Email)
	return c.cfg.SaveAccount(accountURL, c.cfg.Email)
}

// newAccount asks for an account, old or new, and returns its URL.
func (c *Client) newAccount(ctx context.Context, core *api.Core, req acme.Account, eab *EAB) (string, error) {
	account, err := call(ctx, c, func() (acme.ExtendedAccount, error) {
		if eab != nil {
			return core.Accounts.NewEAB(req, eab.KID, eab.HMACKey)
		}
		return core.Accounts.New(req)
	})
	var p *Problem
	switch {
	case errors.As(err, &p):
		p.newAccount = true
		return "", err
	case err != nil:
		// The CA may know the account all the same. And a request that was
		// interrupted is still under way: its answer will change core.
		c.forgetAccount(core)
		return "", err
	case account.Location == "":
		return "", errors.New("the CA gave it no URL")
	}
	return account.Location, nil
}

// forgetAccount makes the next request ask the CA for the account again, unless
// somebody did since the given API signed.
func (c *Client) forgetAccount(used *api.Core) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keyFresh = false
	if c.core() == used {
		c.accountURL = ""
		c.read = time.Time{} // lego keeps an account's URL for ever, so the API is made anew
	}
}
