// What the README's snippet takes from Android, and a person who uses its ChatModel: Android MODEL.
import deputy.*
import java.io.File
import kotlinx.coroutines.*
import kotlinx.coroutines.flow.*

open class Application(val filesDir: File, val cacheDir: File)

open class AndroidViewModel(@Suppress("unused") val app: Application) {
    val viewModelScope = CoroutineScope(SupervisorJob() + Dispatchers.Default)

    protected open fun onCleared() {}

    fun clear() {
        onCleared()
        viewModelScope.cancel()
    }
}

object Log {
    var last = ""

    fun i(tag: String, message: String) {
        last = "$tag: $message"
    }
}

object ComponentCallbacks2 {
    const val TRIM_MEMORY_BACKGROUND = 40
}

fun main(args: Array<String>) = runBlocking {
    val files = createTempDirectory()
    // A folder opens under any name.
    File(args[0]).copyRecursively(File(files, "model.gguf"))
    val model = ChatModel(Application(files, File(files, "cache")))
    model.send("What is the capital of France?").join()
    check("Paris" in model.text.value) { model.text.value }
    check("EOS" in Log.last) { Log.last }
    model.onStop().join()
    val waiting = model.send("And what is the capital of Italy?")
    delay(300)
    check(waiting.isActive && "Rome" !in model.text.value) { "an answer while the app is in the background" }
    model.onStart().join()
    waiting.join()
    check("Rome" in model.text.value) { model.text.value }
    for (level in listOf(10, 80)) model.onTrimMemory(level).join()
    model.send("What is the capital of Spain?").join()
    check("Madrid" in model.text.value) { model.text.value }
    model.clear()
    files.deleteRecursively()
    println("The README's snippet for Android answers, waits and goes on.")
}

private fun createTempDirectory() = kotlin.io.path.createTempDirectory("deputy").toFile()
