import java.net.URI;
import java.net.URL;
import org.openqa.selenium.By;
import org.openqa.selenium.WebDriver;
import org.openqa.selenium.chrome.ChromeOptions;
import org.openqa.selenium.remote.RemoteWebDriver;

/** A program for Selenium's Java bindings, run from its source. */
public class Desk {
  public static void main(String[] arguments) throws Exception {
    ChromeOptions options = new ChromeOptions();
    options.addArguments("--headless=new", "--no-sandbox", "--remote-allow-origins=*");
    WebDriver driver = new RemoteWebDriver(new URL(System.getenv("REMOTE")), options);
    try {
      driver.get(System.getenv("PAGE"));
      check(driver.getTitle(), "Desk");
      driver.findElement(By.id("name")).sendKeys("typed");
      URI.create(System.getenv("KILL")).toURL().openStream().close();
      check(driver.findElement(By.id("name")).getDomProperty("value"), "typed");
      driver.findElement(By.cssSelector("button")).click();
      check(driver.getTitle(), "Clicked");
    } finally {
      driver.quit();
    }
  }

  private static void check(String found, String expected) {
    if (!found.equals(expected)) {
      throw new AssertionError(found + " is not " + expected);
    }
  }
}
