package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"earworm/internal/run"
)

// newHealthCommand returns "health", which asks the process that runs with the same settings: the container's health
// check, since the image holds no other program.
func newHealthCommand(a *app) *cobra.Command {
	var timeout time.Duration
	var live bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the earworm that runs with these settings whether it is ready",
		Long:  "Asks /readyz, or with --live /healthz, at http.listen. Ends with 0 if the answer is yes and with 75 if not.",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/readyz"
			if live {
				path = "/healthz"
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return run.WithCode(run.CodeTemporary, askHealth(ctx, a.out, a.config.HTTP.Listen, path))
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "longest wait for the answer")
	cmd.Flags().BoolVar(&live, "live", false, "ask whether it is alive instead")
	return cmd
}

// askHealth writes the answer to out; anything but 200 is an error that holds the reasons.
func askHealth(ctx context.Context, out io.Writer, listen, path string) error {
	if listen == "" {
		return errors.New("http.listen is empty: there is nobody to ask")
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("reading http.listen: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1" // It listens on every interface; this one needs no network.
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // No proxy: it is this machine.
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // Only read from.
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("no: %s", strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "; "))
	}
	_, err = out.Write(text)
	return err
}
