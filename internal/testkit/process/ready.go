package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// readyInterval is short against a start of a second, and long against the cost of one request.
const readyInterval = 20 * time.Millisecond

// WaitReady asks url (the child's /readyz) until it answers 200. It ends early with ErrEnded when the child ends, and with the
// cause of ctx; the error then carries the last answer, which names the reasons for not being ready.
func (c *Child) WaitReady(ctx context.Context, url string) error {
	transport := &http.Transport{DisableKeepAlives: true} // an idle connection would keep the child's graceful end waiting
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	var last error
	for {
		err := askReady(ctx, client, url)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // a request cut short by the deadline says nothing that an earlier answer does not
		}
		select {
		case <-c.done:
			return fmt.Errorf("waiting for %s: %w (%v); its last lines:\n%s", url, ErrEnded, c.exit, c.Tail(15))
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", url, errors.Join(context.Cause(ctx), last))
		case <-ticker.C:
		}
	}
}

func askReady(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answer %s: %s", response.Status, body)
	}
	return nil
}
