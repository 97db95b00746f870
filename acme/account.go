package acme

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
)

// EAB binds an ACME account to one outside ACME (RFC 8555 section 7.3.4).
type EAB struct {
	KID     string
	HMACKey string // base64url, as CAs hand it out
}

// ensureAccount registers the account unless it is known, or finds it again by
// its key (RFC 8555 sections 7.3 and 7.3.1).
func (c *Client) ensureAccount(ctx context.Context) error {
	c.account.Lock()
	defer c.account.Unlock()
	if c.known {
		return nil
	}
	account, err := c.findOrRegister(ctx)
	if err != nil {
		return err
	}
	if account.Location == "" {
		return fmt.Errorf("account at %s: the CA gave it no URL", c.cfg.Directory)
	}
	if err := c.cfg.SaveAccountURL(account.Location); err != nil {
		return fmt.Errorf("account at %s: %w", c.cfg.Directory, err)
	}
	c.known = true
	return nil
}

func (c *Client) findOrRegister(ctx context.Context) (acme.ExtendedAccount, error) {
	if !c.cfg.AccountKeyFresh {
		account, err := c.newAccount(ctx, acme.Account{OnlyReturnExisting: true}, nil)
		var p *Problem
		switch {
		case err == nil:
			c.cfg.Logger.Info("found the ACME account by its key", "ca", c.cfg.Directory)
			return account, nil
		case !errors.As(err, &p) || !p.final():
			return acme.ExtendedAccount{}, fmt.Errorf("account at %s: %w", c.cfg.Directory, err)
		}
	}
	meta := c.core().GetDirectory().Meta
	if !c.cfg.AcceptTerms {
		return acme.ExtendedAccount{}, fmt.Errorf("account at %s: read the CA's terms of service (%.200q) and set accept_terms: true", c.cfg.Directory, meta.TermsOfService)
	}
	if meta.ExternalAccountRequired && c.cfg.EAB == nil {
		return acme.ExtendedAccount{}, fmt.Errorf("account at %s: this CA asks for an external account binding: set acme.eab with the kid and hmac_file that it gave you", c.cfg.Directory)
	}
	req := acme.Account{TermsOfServiceAgreed: true}
	if c.cfg.Email != "" {
		req.Contact = []string{"mailto:" + c.cfg.Email}
	}
	account, err := c.newAccount(ctx, req, c.cfg.EAB)
	if err != nil {
		return acme.ExtendedAccount{}, fmt.Errorf("account at %s: %w", c.cfg.Directory, err)
	}
	c.cfg.Logger.Info("registered an ACME account", "ca", c.cfg.Directory)
	return account, nil
}

// newAccount asks for an account, old or new.
func (c *Client) newAccount(ctx context.Context, req acme.Account, eab *EAB) (acme.ExtendedAccount, error) {
	account, err := call(ctx, c, func() (acme.ExtendedAccount, error) {
		if eab != nil {
			return c.core().Accounts.NewEAB(req, eab.KID, eab.HMACKey)
		}
		return c.core().Accounts.New(req)
	})
	var p *Problem
	if errors.As(err, &p) {
		p.newAccount = true
	}
	return account, err
}

// forgetAccount makes the next ensureAccount ask the CA again, unless somebody
// did since the given API signed.
func (c *Client) forgetAccount(ctx context.Context, used *api.Core) error {
	c.account.Lock()
	defer c.account.Unlock()
	if c.core() != used {
		return nil
	}
	c.cfg.AccountKeyFresh = false
	return c.signAs(ctx, "")
}
