import puppeteer from 'puppeteer-core'
import { pause, tell } from './steps.mjs'

const [address, url] = process.argv.slice(2)
const clients = await Promise.all([1, 2].map(() => puppeteer.connect({ browserWSEndpoint: address })))
const [page] = await clients[0].pages()
await page.goto(url)
await page.type('#name', 'typed')
const [same] = await clients[1].pages()
const typed = await same.$eval('#name', (field) => field.value)
tell({ title: await page.title(), typed, picture: (await page.screenshot()).length })
await pause()
await Promise.all(clients.map((client) => client.disconnect()))
process.exit(0)
