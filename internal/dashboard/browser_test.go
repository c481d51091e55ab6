package dashboard

import (
	"context"
	"os/exec"
	"testing"

	"github.com/chromedp/chromedp"
)

var _ = chromedp.Navigate
var _ context.Context
var _ = exec.LookPath
var _ testing.TB
