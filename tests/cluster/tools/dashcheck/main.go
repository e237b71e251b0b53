// Reads dashboards as Grafana's own SDK does, strictly: an unknown field or a value of another type is an error.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func problem(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var board dashboard.Dashboard
	if err := board.UnmarshalJSONStrict(text); found(err) {
		return err
	}
	if err := board.Validate(); found(err) {
		return err
	}
	return nil
}

// The SDK returns an empty list of errors, as an error, where there is none.
func found(err error) bool {
	return err != nil && err.Error() != ""
}

func main() {
	plugins.RegisterDefaultPlugins()
	bad := false
	for _, path := range os.Args[1:] {
		if err := problem(path); err != nil {
			fmt.Printf("%s: %v\n", path, err)
			bad = true
		}
	}
	if bad {
		os.Exit(1)
	}
}
