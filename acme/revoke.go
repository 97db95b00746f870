package acme

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
)

// keyCompromise is the reason for which certificates are revoked here
// (RFC 5280 section 5.3.1).
const keyCompromise uint = 1

// RevokeCompromised revokes a certificate (DER) because others may have its key
// (RFC 8555 section 7.6). The request is signed with that key: whoever has it may do
// this, whichever account the certificate was ordered by, and CAs then know that the
// key itself is lost and refuse it everywhere. Without the key (nil) the account
// signs. That it is revoked already is not an error.
func (c *Client) RevokeCompromised(ctx context.Context, cert []byte, key crypto.Signer) error {
	var core *api.Core
	var err error
	if key != nil {
		core, err = c.signer(ctx, "", key)
	} else {
		core, err = c.ready(ctx, asAccount)
	}
	if err != nil {
		return fmt.Errorf("revocation: %w", err)
	}
	reason := keyCompromise
	_, err = call(ctx, c, func() (struct{}, error) {
		return struct{}{}, core.Certificates.Revoke(acme.RevokeCertMessage{
			Certificate: base64.RawURLEncoding.EncodeToString(cert), Reason: &reason,
		})
	})
	var p *Problem
	if errors.As(err, &p) && p.Type == errAlreadyRevoked {
		return nil
	}
	if err != nil {
		return fmt.Errorf("revocation: %w", err)
	}
	return nil
}
