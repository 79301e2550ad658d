import { remote } from 'webdriverio'
import { pause, tell } from './steps.mjs'

const [server, page, file, protocol] = process.argv.slice(2)
const { hostname, port, pathname } = new URL(server)
const classic = { 'wdio:enforceWebDriverClassic': true }
const capabilities = { browserName: 'chrome', ...(protocol === 'classic' ? classic : {}) }
const browser = await remote({ hostname, port: Number(port), path: pathname, logLevel: 'error', capabilities })
await browser.url(page)
const opened = await browser.getTitle()
await browser.$('#name').setValue('typed')
await browser.$('#file').setValue(await browser.uploadFile(file))
const uploaded = await browser.execute(() => document.getElementById('file').files[0].text())
await browser.$('button').click()
tell({ session: browser.sessionId, bidi: browser.isBidi, opened, uploaded, clicked: await browser.getTitle() })
await pause()
tell({ typed: await browser.$('#name').getValue() })
await browser.deleteSession()
process.exit(0)
