import { Builder, By } from 'selenium-webdriver'
import { FileDetector } from 'selenium-webdriver/remote/index.js'
import { pause, tell } from './steps.mjs'

const [server, page, file] = process.argv.slice(2)
const driver = await new Builder().usingServer(server).forBrowser('chrome').build()
driver.setFileDetector(new FileDetector())
await driver.get(page)
const opened = await driver.getTitle()
await driver.findElement(By.id('name')).sendKeys('typed')
await driver.findElement(By.id('file')).sendKeys(file)
const uploaded = await driver.executeScript("return document.getElementById('file').files[0].text()")
await driver.findElement(By.css('button')).click()
const session = (await driver.getSession()).getId()
tell({ session, opened, uploaded, clicked: await driver.getTitle() })
await pause()
tell({ typed: await driver.findElement(By.id('name')).getProperty('value') })
await driver.quit()
process.exit(0)
