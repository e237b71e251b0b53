// Package headers keeps a module in go.mod that brings miniaudio.h: Ollama includes it and its own module leaves it out.
package headers

import _ "github.com/gen2brain/malgo"
