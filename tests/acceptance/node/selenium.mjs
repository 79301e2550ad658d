import { Builder, By } from 'selenium-webdriver'
import { pause, tell } from './steps.mjs'

const [server, page] = process.argv.slice(2)
const driver = await new Builder().usingServer(server).forBrowser('chrome').build()
await driver.get(page)
await driver.findElement(By.id('name')).sendKeys('typed')
tell({ session: (await driver.getSession()).getId(), title: await driver.getTitle() })
await pause()
tell({ typed: await driver.findElement(By.id('name')).getProperty('value') })
await driver.quit()
process.exit(0)
