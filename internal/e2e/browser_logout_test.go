package e2e

import (
	"context"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"kong-openid-connect/internal/sandbox/provider"
)

// TestBrowserIsLoggedOutByAFrame: provider and gateway are of one site, so
// Chromium sends the session's cookie of SameSite=Lax to the frame, and the
// gateway's policy lets the provider's page show it.
func TestBrowserIsLoggedOutByAFrame(t *testing.T) {
	register := func(uri string) {
		for _, c := range provider.DefaultClients() {
			if c.ID == "kong" {
				c.FrontchannelLogoutURI = uri
				if err := env.provider.SetClient(c); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	register(env.Proxy + "/framed/frontchannel")
	defer register("")
	ctx := chromium(t)
	var at string
	var tree *page.FrameTree
	steps(t, ctx, network.ClearBrowserCookies(), chromedp.Navigate(env.Proxy+"/framed"), enter("alex"), chromedp.WaitVisible("pre", chromedp.ByQuery),
		chromedp.Navigate(env.Issuer+"/logout?client_id=kong"), chromedp.WaitVisible("iframe", chromedp.ByQuery),
		chromedp.ActionFunc(func(ctx context.Context) (err error) {
			tree, err = page.GetFrameTree().Do(ctx)
			return err
		}))
	if len(tree.ChildFrames) != 1 {
		t.Fatalf("%d frames", len(tree.ChildFrames))
	}
	if f := tree.ChildFrames[0].Frame; f.UnreachableURL != "" || f.MimeType != "text/html" {
		t.Errorf("the frame is not shown: %s %s", f.URL, f.UnreachableURL)
	}
	steps(t, ctx, chromedp.Navigate(env.Proxy+"/framed"), chromedp.WaitVisible("#username", chromedp.ByID), chromedp.Location(&at))
	if at == env.Proxy+"/framed" {
		t.Errorf("still at %s", at)
	}
}
