package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"earworm/internal/obs"
)

// newVersionCommand returns "version".
func newVersionCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:         "version",
		Short:       "Print the version",
		Args:        exactArgs(),
		Annotations: map[string]string{noConfig: ""},
		RunE: func(*cobra.Command, []string) error {
			build := obs.ReadBuild(version)
			if asJSON {
				return json.NewEncoder(a.out).Encode(build)
			}
			_, err := fmt.Fprintln(a.out, build)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}
