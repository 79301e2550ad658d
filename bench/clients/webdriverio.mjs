// A script for WebdriverIO with its default protocol (BiDi, if PROTOCOL is not "classic").
import assert from "node:assert";
import { remote } from "webdriverio";

const { hostname, port, pathname } = new URL(process.env.REMOTE);
const browser = await remote({
  hostname,
  port: Number(port),
  path: pathname,
  logLevel: "error",
  capabilities: {
    browserName: "chrome",
    "wdio:enforceWebDriverClassic": process.env.PROTOCOL === "classic",
    "goog:chromeOptions": { args: ["--headless=new", "--no-sandbox"] },
  },
});
try {
  await browser.url(process.env.PAGE);
  assert.equal(await browser.getTitle(), "Desk");
  await browser.$("#name").setValue("typed");
  await fetch(process.env.KILL);
  assert.equal(await browser.$("#name").getValue(), "typed");
  await browser.$("button").click();
  assert.equal(await browser.getTitle(), "Clicked");
} finally {
  await browser.deleteSession();
}
