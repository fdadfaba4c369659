package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"earworm/internal/run"
)

// inspectTimeout is how long the process may take to answer: it ends the transaction in hand first.
const inspectTimeout = 15 * time.Second

// newInspectCommand shows the committed state of a listener or a song.
func newInspectCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Show what a running process knows of a listener or a song",
		Long: "The process is asked at its administration address, so http.admin_listen and http.admin_token must be set as for serve.\n" +
			"Only the instance that owns the partition can answer.",
	}
	for _, kind := range []struct{ name, arg, short string }{
		{"listener", "USER", "Show a listener's history, habits and weeks"},
		{"song", "SONG", "Show a song's popularity and factors"},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: kind.name + " " + kind.arg, Short: kind.short, Args: exactArgs(kind.arg),
			RunE: func(cmd *cobra.Command, args []string) error { return a.inspect(cmd, kind.name, args[0]) },
		})
	}
	return cmd
}

func (a *app) inspect(cmd *cobra.Command, kind, id string) error {
	if a.config.HTTP.AdminListen == "" {
		return usage(errors.New("inspect asks a running process: set http.admin_listen and http.admin_token as it has them"))
	}
	// Escaped as one segment: ids hold slashes too.
	address := "http://" + a.config.HTTP.AdminListen + "/inspect/" + kind + "/" + url.PathEscape(id)
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		return usage(err)
	}
	request.Header.Set("Authorization", "Bearer "+a.config.HTTP.AdminToken.Reveal())
	client := http.Client{Timeout: inspectTimeout}
	response, err := client.Do(request)
	if err != nil {
		return run.WithCode(run.CodeTemporary, fmt.Errorf("asking the process: %w", err))
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return run.WithCode(run.CodeTemporary, fmt.Errorf("reading the answer: %w", err))
	}
	if response.StatusCode != http.StatusOK {
		return run.WithCode(run.CodeUsage, fmt.Errorf("%s", bytes.TrimSpace(body)))
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, body, "", "  "); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	_, err = pretty.WriteTo(a.out)
	return run.WithCode(run.CodeIO, err)
}
