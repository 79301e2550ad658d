import { remote } from 'webdriverio'
import { pause, tell } from './steps.mjs'

const [server, page, protocol] = process.argv.slice(2)
const { hostname, port, pathname } = new URL(server)
const classic = { 'wdio:enforceWebDriverClassic': true }
const capabilities = { browserName: 'chrome', ...(protocol === 'classic' ? classic : {}) }
const browser = await remote({ hostname, port: Number(port), path: pathname, logLevel: 'error', capabilities })
await browser.url(page)
await browser.$('#name').setValue('typed')
tell({ session: browser.sessionId, title: await browser.getTitle(), bidi: browser.isBidi })
await pause()
tell({ typed: await browser.$('#name').getValue() })
await browser.deleteSession()
process.exit(0)
