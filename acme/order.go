package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
)

// ErrOrderGone says that the CA no longer knows an order, or has given it up:
// a new one has to be made.
var ErrOrderGone = errors.New("the order is gone")

// ErrAccountRefused says that the CA takes no orders from the account: it was
// deactivated or revoked (RFC 8555 section 7.1.2).
var ErrAccountRefused = errors.New("the CA does not accept the account")

// Order is a request for a certificate (RFC 8555 section 7.1.3): what must be
// on record to resume it after a crash.
type Order struct {
	URL         string
	Finalize    string
	Certificate string // URL of the certificate, once the order is valid

	status         string
	authorizations []string
	problem        string
}

// Finalized reports whether a certificate was asked for, so that the CA issued one or is
// about to.
func (o Order) Finalized() bool {
	return o.status == acme.StatusProcessing || o.status == acme.StatusValid
}

// OrderRequest is what a certificate is asked for.
type OrderRequest struct {
	Domains []string
	Profile string            // draft-ietf-acme-profiles, optional
	Replace *x509.Certificate // the certificate that this one follows (RFC 9773 section 5), optional
}

// NewOrder begins an order.
func (c *Client) NewOrder(ctx context.Context, req OrderRequest) (Order, error) {
	core, err := c.ready(ctx, asAccount)
	if err != nil {
		return Order{}, err
	}
	directory := core.GetDirectory()
	if p := directory.Meta.Profiles; req.Profile != "" && len(p) > 0 {
		if _, ok := p[req.Profile]; !ok {
			return Order{}, fmt.Errorf("the CA has no profile %q; it offers %.300q", req.Profile, strings.Join(slices.Sorted(maps.Keys(p)), ", "))
		}
	}
	opts := &api.OrderOptions{Profile: req.Profile}
	if req.Replace != nil {
		if id, err := certID(req.Replace); err == nil {
			opts.ReplacesCertID = id
		}
	}
	order, err := c.newOrder(ctx, core, req.Domains, opts)
	var p *Problem
	if errors.As(err, &p) && p.Type == errAccountDoesNotExist {
		c.cfg.Logger.Warn("the CA no longer knows the ACME account, registering it anew", "ca", c.cfg.Directory)
		c.forgetAccount(core)
		if core, err = c.ready(ctx, asAccount); err != nil {
			return Order{}, err
		}
		order, err = c.newOrder(ctx, core, req.Domains, opts)
	}
	if errors.As(err, &p) && opts.ReplacesCertID != "" && !p.Limited() && p.RetryAfter == 0 {
		// A CA may refuse `replaces` for reasons of its own (another account
		// ordered the old certificate, it lost its order), or fail over it with a
		// server error; it is a courtesy, not a need.
		c.cfg.Logger.Warn("the CA refuses the order as a replacement, ordering without", "problem", p)
		opts.ReplacesCertID = ""
		order, err = c.newOrder(ctx, core, req.Domains, opts)
	}
	return order, accountRefused(err)
}

// accountRefused marks the refusal of a request that needs nothing but an account.
func accountRefused(err error) error {
	if p := (*Problem)(nil); errors.As(err, &p) && p.Type == errUnauthorized {
		return fmt.Errorf("%w: %w", ErrAccountRefused, err)
	}
	return err
}

func (c *Client) newOrder(ctx context.Context, core *api.Core, domains []string, opts *api.OrderOptions) (Order, error) {
	o, err := call(ctx, c, func() (acme.ExtendedOrder, error) { return core.Orders.NewWithOptions(domains, opts) })
	if err != nil {
		return Order{}, fmt.Errorf("new order: %w", err)
	}
	if o.Location == "" {
		return Order{}, errors.New("new order: the CA gave it no URL")
	}
	return c.checkOrder(o.Order, o.Location)
}

// Order reads an order again. When the CA does not know it any more, or has
// given it up, the error is [ErrOrderGone].
func (c *Client) Order(ctx context.Context, orderURL string) (Order, error) {
	core, err := c.ready(ctx, asAccount)
	if err != nil {
		return Order{}, err
	}
	o, err := call(ctx, c, func() (acme.ExtendedOrder, error) { return core.Orders.Get(orderURL) })
	var p *Problem
	if errors.As(err, &p) && p.final() {
		return Order{}, fmt.Errorf("%w: %w", ErrOrderGone, err)
	}
	if err != nil {
		return Order{}, fmt.Errorf("order %s: %w", orderURL, err)
	}
	order, err := c.checkOrder(o.Order, orderURL)
	if err != nil {
		return Order{}, err
	}
	if order.status == acme.StatusInvalid {
		return Order{}, fmt.Errorf("%w: %w", ErrOrderGone, order.invalid())
	}
	return order, nil
}

// checkOrder takes over what the CA says of an order, as far as it makes sense.
func (c *Client) checkOrder(o acme.Order, orderURL string) (Order, error) {
	order := Order{
		URL: orderURL, Finalize: o.Finalize, Certificate: o.Certificate,
		status: o.Status, authorizations: o.Authorizations,
	}
	if o.Error != nil {
		order.problem = details(o.Error)
	}
	switch o.Status {
	case acme.StatusPending, acme.StatusReady, acme.StatusProcessing, acme.StatusValid, acme.StatusInvalid:
	default:
		return Order{}, fmt.Errorf("order %s: %.50q is not a status of an order", orderURL, o.Status)
	}
	for _, u := range []string{orderURL, o.Finalize} {
		if err := checkURL(u); err != nil {
			return Order{}, fmt.Errorf("order %.200q: %w", orderURL, err)
		}
	}
	return order, nil
}

func (o Order) invalid() error {
	if o.problem != "" {
		return fmt.Errorf("order %s is invalid: %s", o.URL, o.problem)
	}
	return fmt.Errorf("order %s is invalid; the CA does not say why", o.URL)
}

// Finalize sends the certificate request of an order whose names are proven,
// waits for the certificate, and returns the order with its URL. It may be
// called again for an order that was finalized before.
func (c *Client) Finalize(ctx context.Context, o Order, csr []byte) (Order, error) {
	if o.status == acme.StatusPending || o.status == acme.StatusReady {
		got, err := call(ctx, c, func() (acme.ExtendedOrder, error) { return c.core().Orders.UpdateForCSR(o.Finalize, csr) })
		if err != nil {
			return Order{}, fmt.Errorf("finalizing the order: %w", err)
		}
		if o, err = c.checkOrder(got.Order, o.URL); err != nil {
			return Order{}, err
		}
	}
	if o.status != acme.StatusValid {
		err := c.poll(ctx, o.URL, func() (done bool, told string, err error) {
			got, err := call(ctx, c, func() (acme.ExtendedOrder, error) { return c.core().Orders.Get(o.URL) })
			if err != nil {
				return false, "", fmt.Errorf("order %s: %w", o.URL, err)
			}
			if o, err = c.checkOrder(got.Order, o.URL); err != nil {
				return false, "", err
			}
			switch o.status {
			case acme.StatusValid:
				return true, "", nil
			case acme.StatusProcessing, acme.StatusReady:
				return false, o.problem, nil
			}
			return false, "", o.invalid()
		})
		if err != nil {
			return Order{}, err
		}
	}
	if err := checkURL(o.Certificate); err != nil {
		return Order{}, fmt.Errorf("order %s has no certificate: %w", o.URL, err)
	}
	return o, nil
}
