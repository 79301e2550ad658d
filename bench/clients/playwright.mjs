// A script for Playwright; SELENIUM_REMOTE_URL, which Playwright reads itself, names the remote end.
import assert from "node:assert";
import { chromium } from "playwright";

const browser = await chromium.launch({ args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  await page.goto(process.env.PAGE);
  assert.equal(await page.title(), "Desk");
  await page.fill("#name", "typed");
  await fetch(process.env.KILL);
  assert.equal(await page.inputValue("#name"), "typed");
  await page.click("button");
  assert.equal(await page.title(), "Clicked");
} finally {
  await browser.close();
}
